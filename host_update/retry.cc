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
#include "host_update/restore.h"
#include "host_update/restore_vm.h"
#include "host_update/spans.h"
#include "state_preserve/handover_reader.h"

namespace live_update {
namespace {

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
    if (vm.ref.name == name_or_uuid) return vm.ref.uuid;
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
  LU_RETURN_IF_ERROR(WriteReport(deps.paths.state_dir, report));
  return report;
}

}  // namespace

absl::StatusOr<UpdateReport> RetryVm(const std::string& name_or_uuid,
                                     const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const HostFacts host, deps.host_facts());
  LU_ASSIGN_OR_RETURN(const ProtectedVm kept,
                      FindProtectedVm(name_or_uuid, deps));
  // What comes of it belongs into the report that the first try wrote.
  if (absl::IsNotFound(
          ReadReport(deps.paths.state_dir, kept.set->update_id()).status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("update ", kept.set->update_id(),
                     " was not restored at all yet: `host-update restore` "
                     "does it for all its VMs, this one too"));
  }
  LU_ASSIGN_OR_RETURN(
      const HandoverReader reader,
      HandoverReader::Open(kept.set->image(), deps.handover.key.get()));
  // Its counter was used up by the first try; everything else must still fit.
  LU_RETURN_IF_ERROR(CheckBelongsHere(reader.host(), host.machine_id,
                                      host.boot_id, /*last_counter=*/0));
  LU_ASSIGN_OR_RETURN(const IncomingVm vm, ReadVm(reader, kept.uuid));

  const ClockSample start = deps.clock->Sample();
  const SpanClock span_clock(reader.host(), start, *deps.clock);
  VmReport vm_report;
  RestoreVm(vm, *kept.set, deps, vm_report);
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
  LU_ASSIGN_OR_RETURN(UpdateReport report,
                      AmendReport(kept.set->update_id(), vm_report, deps));
  LU_RETURN_IF_ERROR(kept.set->FinishIfEmpty().status());
  return report;
}

absl::Status DiscardVm(const std::string& name_or_uuid,
                       const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const ProtectedVm kept,
                      FindProtectedVm(name_or_uuid, deps));
  LU_RETURN_IF_ERROR(kept.set->Discard(kept.uuid));
  LogInfo(absl::StrCat(name_or_uuid, ": preserved memory and state given up"));
  return kept.set->FinishIfEmpty().status();
}

}  // namespace live_update
