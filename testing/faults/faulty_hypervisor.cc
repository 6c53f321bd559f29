#include "testing/faults/faulty_hypervisor.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace live_update::testing {

absl::Status FaultyHypervisor::Pause(const VmRef& vm, absl::Time deadline) {
  LU_RETURN_IF_ERROR(
      MeetFault(fault_, absl::StrCat("pause@", vm.name), deadline));
  return real_->Pause(vm, deadline);
}

absl::StatusOr<SavedVm> FaultyHypervisor::Save(const VmRef& vm,
                                               absl::Time deadline) {
  LU_RETURN_IF_ERROR(
      MeetFault(fault_, absl::StrCat("save@", vm.name), deadline));
  return real_->Save(vm, deadline);
}

absl::Status FaultyHypervisor::EndProcess(const VmRef& vm,
                                          const VmProcess& process,
                                          absl::Time deadline) {
  LU_RETURN_IF_ERROR(
      MeetFault(fault_, absl::StrCat("end@", vm.name), deadline));
  return real_->EndProcess(vm, process, deadline);
}

absl::Status FaultyHypervisor::Restore(const RestorableVm& vm,
                                       absl::Time deadline) {
  LU_RETURN_IF_ERROR(
      MeetFault(fault_, absl::StrCat("restore@", vm.ref.name), deadline));
  return real_->Restore(vm, deadline);
}

}  // namespace live_update::testing
