#include "testing/faults/faulty_hypervisor.h"

#include "base/status_macros.h"

namespace live_update::testing {

absl::StatusOr<std::vector<VmInfo>> FaultyHypervisor::List(
    absl::Time deadline) {
  LU_RETURN_IF_ERROR(injector_.LibvirtAnswers());
  absl::StatusOr<std::vector<VmInfo>> vms = real_->List(deadline);
  if (!vms.ok()) return vms;
  for (const VmInfo& vm : *vms) injector_.Learn(vm.ref);
  return vms;
}

absl::Status FaultyHypervisor::Pause(const VmRef& vm, absl::Time deadline) {
  LU_RETURN_IF_ERROR(Meet(FaultPoint::kPauseVm, vm, deadline));
  return real_->Pause(vm, deadline);
}

absl::StatusOr<SavedVm> FaultyHypervisor::Save(const VmRef& vm,
                                               absl::Time deadline) {
  LU_RETURN_IF_ERROR(Meet(FaultPoint::kSaveVm, vm, deadline));
  return real_->Save(vm, deadline);
}

absl::Status FaultyHypervisor::EndProcess(const VmRef& vm,
                                          const VmProcess& process,
                                          absl::Time deadline) {
  LU_RETURN_IF_ERROR(Meet(FaultPoint::kEndVm, vm, deadline));
  return real_->EndProcess(vm, process, deadline);
}

absl::Status FaultyHypervisor::Resume(const VmRef& vm, bool run,
                                      absl::Time deadline) {
  LU_RETURN_IF_ERROR(Meet(FaultPoint::kUndoVm, vm, deadline));
  return real_->Resume(vm, run, deadline);
}

absl::Status FaultyHypervisor::Restore(const RestorableVm& vm,
                                       absl::Time deadline) {
  LU_RETURN_IF_ERROR(Meet(FaultPoint::kRestoreVm, vm.ref, deadline));
  return real_->Restore(vm, deadline);
}

absl::Status FaultyHypervisor::Announce(const VmRef& vm, absl::Time deadline) {
  LU_RETURN_IF_ERROR(Meet(FaultPoint::kAnnounceVm, vm, deadline));
  return real_->Announce(vm, deadline);
}

}  // namespace live_update::testing
