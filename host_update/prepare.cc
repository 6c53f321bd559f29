#include "host_update/prepare.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/bounded_sync.h"
#include "host_update/early_restore.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/identity.h"
#include "host_update/rescue.h"

namespace live_update {
namespace {

// Stages the very files that the check read.
absl::Status Stage(const CheckedHost& checked, const Dependencies& deps) {
  const loader::TargetKernel& target = checked.target;
  const std::string what = absl::StrCat("stage ", target.kernel_path);
  UniqueFd with_early_init;
  if (checked.early_root.has_value()) {
    auto initrd = WithEarlyInit(target.initrd, *checked.early_root, deps.paths);
    if (!initrd.ok()) return Annotate(initrd.status(), what);
    with_early_init = *std::move(initrd);
  }
  const UniqueFd& initrd =
      with_early_init.ok() ? with_early_init : target.initrd;
  if (!checked.direct_jump.has_value()) {
    return Annotate(
        deps.kexec->StageFile(target.kernel, initrd, target.command_line),
        what);
  }
  std::vector<loader::PhysRange> untouched;
  if (checked.host.preserved.ok() && checked.host.preserved->range.ok()) {
    untouched.push_back(*checked.host.preserved->range);
  }
  return Annotate(
      deps.kexec->StageDirect(target.kernel, initrd, target.command_line,
                              *checked.direct_jump, untouched),
      what);
}

}  // namespace

absl::StatusOr<PreparedVm> PrepareVm(VmFacts& facts,
                                     OutgoingPreservation& outgoing,
                                     const Dependencies& deps) {
  PreparedVm vm{.info = facts.info, .pages = PagesOf(facts.ram)};
  for (GuestRam& ram : facts.ram) {
    LU_ASSIGN_OR_RETURN(
        PreservedRam preserved,
        outgoing.PreserveRam(facts.info.ref.uuid, ram.name, ram.fd));
    vm.ram.push_back({.block = ram.name,
                      .preserved = std::move(preserved),
                      .fd = std::move(ram.fd)});
  }
  LU_ASSIGN_OR_RETURN(vm.description,
                      deps.hypervisor->Describe(
                          facts.info.ref, absl::Now() + deps.limits.call));
  return vm;
}

absl::Status BeginHandover(PreparedUpdate& update, size_t vm_count,
                           uint64_t bytes_per_vm, const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const uint64_t last,
                      ReadCounter(deps.paths.state_dir, kBegunCounter));
  update.counter = last + 1;
  LU_RETURN_IF_ERROR(
      WriteCounter(deps.paths.state_dir, kBegunCounter, update.counter));
  LU_RETURN_IF_ERROR(deps.memory->CollectGarbage().status());
  // A restorer that was cut off as it ended left its handover, of no VM.
  LU_ASSIGN_OR_RETURN(const auto unfinished, deps.memory->Unfinished());
  for (const auto& set : unfinished) {
    LU_RETURN_IF_ERROR(set->FinishIfEmpty().status());
  }
  LU_ASSIGN_OR_RETURN(update.outgoing, deps.memory->Begin(update.update_id));
  LU_ASSIGN_OR_RETURN(absl::Span<uint8_t> area,
                      update.outgoing->ReserveStateArea(
                          StateAreaBytesFor(vm_count, bytes_per_vm)));
  LU_ASSIGN_OR_RETURN(update.writer,
                      HandoverWriter::Create(area, deps.handover.version,
                                             deps.handover.key.get()));
  return absl::OkStatus();
}

uint64_t StateAreaBytesFor(size_t vm_count, uint64_t bytes_per_vm) {
  return StateAreaBytes(std::vector<VmStateEstimate>(
      vm_count, {.auxiliary_ram_bytes = bytes_per_vm}));
}

absl::StatusOr<PreparedUpdate> Prepare(const UpdateRequest& request,
                                       CheckedHost& checked,
                                       const std::string& update_id,
                                       const Dependencies& deps) {
  PreparedUpdate update{.update_id = update_id, .host = checked.host};
  for (const VmInfo& vm : checked.all_vms) {
    if (vm.state == VmState::kOff) {
      update.inactive_vm_uuids.push_back(vm.ref.uuid);
    }
  }
  for (const Finding& finding : checked.report.findings()) {
    if (finding.overridden()) update.overridden.push_back(finding);
  }

  LU_RETURN_IF_ERROR(BeginHandover(update, checked.vms.size(),
                                   request.state_bytes_per_vm, deps));
  for (VmFacts& facts : checked.vms) {
    absl::StatusOr<PreparedVm> vm = PrepareVm(facts, *update.outgoing, deps);
    if (!vm.ok()) {
      return Annotate(vm.status(),
                      absl::StrCat("prepare ", facts.info.ref.name));
    }
    vm->leave_guest_clock = request.leave_guest_clocks;
    for (const VmWay& way : checked.ways) {
      if (way.info.ref.uuid != vm->info.ref.uuid) continue;
      vm->restore_priority = way.restore_priority;
      vm->leave_guest_clock |= way.leave_guest_clock;
    }
    update.vms.push_back(*std::move(vm));
  }
  LU_RETURN_IF_ERROR(NoteRescueKernel(request, checked, deps));
  LU_RETURN_IF_ERROR(NoteHardwareWatchdog(request, checked.watchdog, deps));
  LU_RETURN_IF_ERROR(Stage(checked, deps));
  // Writes most of what the sync in the blackout would have to write.
  LU_RETURN_IF_ERROR(BoundedSync(deps.sync).Wait(deps.limits.sync));
  return update;
}

}  // namespace live_update
