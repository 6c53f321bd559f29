// The parts of restore.h that act on one VM that an earlier restore left.

#include <memory>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/guests.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/policy.h"
#include "host_update/restore.h"
#include "host_update/restore_vm.h"
#include "host_update/set_aside.h"
#include "host_update/spans.h"
#include "state_preserve/handover_reader.h"

namespace live_update {
namespace {

constexpr size_t kReportsToSearch = 100;

struct ProtectedVm {
  std::unique_ptr<IncomingPreservation> set;
  std::string uuid;
};

// The UUID that `name_or_uuid` stands for, as far as the hypervisor knows it;
// else `name_or_uuid` itself.
std::string ResolveName(const std::string& name_or_uuid,
                        const Dependencies& deps) {
  const auto vms = deps.hypervisor->List(absl::Now() + deps.limits.call);
  if (!vms.ok()) return name_or_uuid;
  for (const VmInfo& vm : *vms) {
    if (vm.ref.IsCalled(name_or_uuid)) return vm.ref.uuid;
  }
  return name_or_uuid;
}

absl::StatusOr<ProtectedVm> FindProtectedVm(const std::string& name_or_uuid,
                                            const Dependencies& deps) {
  const std::string uuid = ResolveName(name_or_uuid, deps);
  LU_ASSIGN_OR_RETURN(auto sets, deps.memory->Unfinished());
  for (auto& set : sets) {
    LU_ASSIGN_OR_RETURN(const auto kept, set->VmUuids());
    if (absl::c_linear_search(kept, uuid)) {
      return ProtectedVm{.set = std::move(set), .uuid = uuid};
    }
    // A transient VM is known to the image alone.
    const auto reader =
        HandoverReader::Open(set->image(), deps.handover.key.get());
    if (!reader.ok()) continue;
    for (size_t i = 0; i < reader->vms().size(); ++i) {
      if (reader->vms()[i].name == name_or_uuid &&
          absl::c_linear_search(kept, reader->vms()[i].uuid)) {
        return ProtectedVm{.set = std::move(set),
                           .uuid = reader->vms()[i].uuid};
      }
    }
  }
  return absl::NotFoundError(
      absl::StrCat("no state of a VM \"", name_or_uuid,
                   "\" is kept; `host-update status` lists those that are. If "
                   "nothing was restored in this boot yet, `host-update "
                   "restore` comes first"));
}

absl::StatusOr<IncomingVm> ReadVm(const HandoverReader& reader,
                                  const std::string& uuid) {
  for (size_t i = 0; i < reader.vms().size(); ++i) {
    if (reader.vms()[i].uuid == uuid) return reader.ReadVm(i);
  }
  return absl::DataLossError(
      absl::StrCat("the handover has no VM ", uuid, ", only its memory"));
}

OtherVm ToOtherVm(const VmReport& report) {
  OtherVm vm;
  vm.set_name(report.name());
  vm.set_uuid(report.uuid());
  vm.set_way(std::string(WayName(Policy::COPY)));
  vm.set_was_running(report.was_running());
  return vm;
}

// Puts `vm` in place of its earlier entry in the update's report.
absl::StatusOr<UpdateReport> AmendReport(const std::string& update_id,
                                         const VmReport& vm,
                                         const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(UpdateReport report,
                      ReadReport(deps.paths.state_dir, update_id));
  for (VmReport& entry : *report.mutable_vms()) {
    if (entry.uuid() == vm.uuid()) entry = vm;
  }
  ConcludeReport(report);
  // Why its restore was given up (restore_attempts.h) is of the past then.
  if (report.result() == UpdateReport::UPDATED) report.clear_reason();
  LU_RETURN_IF_ERROR(WriteReport(deps.paths.state_dir, report));
  return report;
}

// A VM of which a copy waits, as its update reported it.
struct CopiedVm {
  std::string update_id;
  VmReport report;
};

// kNotFound: there is no copy of such a VM.
absl::StatusOr<CopiedVm> FindCopiedVm(const std::string& name_or_uuid,
                                      const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const auto copies, deps.memory->Copies());
  if (copies.empty()) return absl::NotFoundError("no copy of a VM is kept");
  for (const UpdateReport& report :
       ReadReports(deps.paths.state_dir, kReportsToSearch)) {
    for (const VmReport& vm : report.vms()) {
      if ((vm.name() == name_or_uuid || vm.uuid() == name_or_uuid) &&
          absl::c_linear_search(copies, vm.uuid())) {
        return CopiedVm{.update_id = report.update_id(), .report = vm};
      }
    }
  }
  if (!absl::c_linear_search(copies, name_or_uuid)) {
    return absl::NotFoundError(
        absl::StrCat("no copy of a VM \"", name_or_uuid, "\" is kept"));
  }
  CopiedVm unreported;
  unreported.report.set_name(name_or_uuid);
  unreported.report.set_uuid(name_or_uuid);
  return unreported;
}

absl::StatusOr<UpdateReport> RetryCopy(CopiedVm vm, const Dependencies& deps) {
  if (vm.update_id.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no report tells of the copy of ", vm.report.uuid(), "; ",
                     HowToStart(ToOtherVm(vm.report), deps), " starts it"));
  }
  LU_RETURN_IF_ERROR(BringBack(ToOtherVm(vm.report), deps).status());
  vm.report.set_result(VmReport::RESTORED);
  vm.report.clear_reason();
  vm.report.clear_next_step();
  return AmendReport(vm.update_id, vm.report, deps);
}

}  // namespace

absl::StatusOr<UpdateReport> RetryVm(const std::string& name_or_uuid,
                                     const Dependencies& deps) {
  absl::StatusOr<CopiedVm> copied = FindCopiedVm(name_or_uuid, deps);
  if (copied.ok()) return RetryCopy(*std::move(copied), deps);
  LU_ASSIGN_OR_RETURN(const HostFacts host, deps.host_facts());
  // Its old QEMU may still be there, and waits for its end.
  LU_ASSIGN_OR_RETURN(const auto journal, ReadJournal(deps.paths.run_dir));
  if (journal.has_value() && journal->has_restart()) {
    return absl::FailedPreconditionError(
        "a restart of QEMU was cut off: `host-update abort` goes on with it, "
        "or takes it back; then try again");
  }
  LU_ASSIGN_OR_RETURN(const ProtectedVm kept,
                      FindProtectedVm(name_or_uuid, deps));
  LU_ASSIGN_OR_RETURN(
      const HandoverReader reader,
      HandoverReader::Open(kept.set->image(), deps.handover.key.get()));
  // What comes of it belongs into the report that the first try wrote. A
  // restart of QEMU is no update and has none.
  const bool has_report = !reader.host().qemu_restart();
  if (has_report &&
      absl::IsNotFound(
          ReadReport(deps.paths.state_dir, kept.set->update_id()).status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("update ", kept.set->update_id(),
                     " was not restored at all yet: `host-update restore` "
                     "does it for all its VMs, this one too"));
  }
  // Its counter was used up by the first try; everything else must still fit.
  LU_RETURN_IF_ERROR(CheckBelongsHere(reader.host(), host.machine_id,
                                      host.boot_id, /*last_counter=*/0));
  LU_ASSIGN_OR_RETURN(const IncomingVm vm, ReadVm(reader, kept.uuid));

  const ClockSample start = deps.clock->Sample();
  const SpanClock span_clock(reader.host(), start, *deps.clock);
  VmReport vm_report;
  (void)RestoreVm(vm, *kept.set, deps, vm_report);
  vm_report.set_restore_s(span_clock.Now() - span_clock.FirstLine());
  if (vm_report.result() == VmReport::RESTORED) {
    vm_report.set_blackout_s(span_clock.Now() -
                             span_clock.OldKernel(vm.record.paused_tsc()));
    (void)deps.hypervisor->Announce(
        {.name = vm.record.name(), .uuid = vm.record.uuid()},
        absl::Now() + deps.limits.call);
    vm_report.MergeFrom(WakeGuest(vm.record, vm_report.blackout_s(), deps));
    SettleVm(vm, *kept.set, deps, vm_report);
  }
  CorrectNextStep(*kept.set, vm_report);
  UpdateReport report = BeginReport(reader.host(), host);
  if (has_report) {
    LU_ASSIGN_OR_RETURN(report,
                        AmendReport(kept.set->update_id(), vm_report, deps));
  } else {
    *report.add_vms() = vm_report;
    ConcludeReport(report);
  }
  LU_RETURN_IF_ERROR(kept.set->FinishIfEmpty().status());
  return report;
}

absl::Status DiscardVm(const std::string& name_or_uuid,
                       const Dependencies& deps) {
  if (const auto copied = FindCopiedVm(name_or_uuid, deps); copied.ok()) {
    LogInfo(absl::StrCat(name_or_uuid, ": its copy is given up"));
    return deps.memory->RemoveCopy(copied->report.uuid());
  }
  LU_ASSIGN_OR_RETURN(const ProtectedVm kept,
                      FindProtectedVm(name_or_uuid, deps));
  LU_RETURN_IF_ERROR(kept.set->Discard(kept.uuid));
  LogInfo(absl::StrCat(name_or_uuid, ": preserved memory and state given up"));
  return kept.set->FinishIfEmpty().status();
}

}  // namespace live_update
