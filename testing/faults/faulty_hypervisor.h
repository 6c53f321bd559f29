#ifndef TESTING_FAULTS_FAULTY_HYPERVISOR_H_
#define TESTING_FAULTS_FAULTY_HYPERVISOR_H_

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "host_update/hypervisor.h"
#include "testing/faults/fault_injector.h"

namespace live_update::testing {

// A hypervisor in front of another one, with faults at its calls for one VM:
// "pause@vm2", "save@vm2", "end@vm2", "undo@vm2", "restore@vm2",
// "announce@vm2".
class FaultyHypervisor final : public Hypervisor {
 public:
  // `real` and `injector` must outlive it.
  FaultyHypervisor(Hypervisor* real, FaultInjector* injector)
      : real_(real), injector_(*injector) {}

  absl::StatusOr<HypervisorVersions> Versions(absl::Time deadline) override {
    return real_->Versions(deadline);
  }
  absl::StatusOr<std::vector<VmInfo>> List(absl::Time deadline) override;
  absl::StatusOr<VmFacts> Examine(const VmRef& vm,
                                  absl::Time deadline) override {
    LU_RETURN_IF_ERROR(injector_.LibvirtAnswers());
    return real_->Examine(vm, deadline);
  }
  absl::Status CheckInstalledQemu(const VmRef& vm,
                                  absl::Time deadline) override {
    LU_RETURN_IF_ERROR(injector_.LibvirtAnswers());
    return real_->CheckInstalledQemu(vm, deadline);
  }
  absl::StatusOr<VmDescription> Describe(const VmRef& vm,
                                         absl::Time deadline) override {
    LU_RETURN_IF_ERROR(injector_.LibvirtAnswers());
    return real_->Describe(vm, deadline);
  }
  absl::Status Pause(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<SavedVm> Save(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<VmProcess> FindProcess(const VmRef& vm,
                                        absl::Time deadline) override {
    return real_->FindProcess(vm, deadline);
  }
  absl::Status EndProcess(const VmRef& vm, const VmProcess& process,
                          absl::Time deadline) override;
  absl::Status Resume(const VmRef& vm, bool run, absl::Time deadline) override;
  absl::Status Restore(const RestorableVm& vm, absl::Time deadline) override;
  void EndAbandonedRestore(const VmRef& vm, absl::Time deadline) override {
    real_->EndAbandonedRestore(vm, deadline);
  }
  absl::Status Announce(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<absl::Time> GuestTime(const VmRef& vm,
                                       absl::Time deadline) override {
    return real_->GuestTime(vm, deadline);
  }
  absl::Status SetGuestTime(const VmRef& vm, absl::Time now,
                            absl::Time deadline) override {
    return real_->SetGuestTime(vm, now, deadline);
  }
  absl::Status RunGuestHook(const VmRef& vm, const std::string& word,
                            absl::Time deadline) override {
    return real_->RunGuestHook(vm, word, deadline);
  }
  absl::StatusOr<DefinitionChange> EditDefinition(
      const VmRef& vm, const DefinitionEdit& edit,
      absl::Time deadline) override {
    return real_->EditDefinition(vm, edit, deadline);
  }
  absl::Status Start(const VmRef& vm, absl::Time deadline) override {
    return real_->Start(vm, deadline);
  }
  absl::Status ManagedSave(const VmRef& vm, absl::Time deadline) override {
    return real_->ManagedSave(vm, deadline);
  }
  absl::Status SaveToFile(const VmRef& vm, const std::string& file,
                          absl::Time deadline) override {
    return real_->SaveToFile(vm, file, deadline);
  }
  absl::Status RestoreFromFile(const VmRef& vm, const std::string& file,
                               bool run, absl::Time deadline) override {
    return real_->RestoreFromFile(vm, file, run, deadline);
  }
  absl::Status StopSaving(const VmRef& vm, absl::Time deadline) override {
    return real_->StopSaving(vm, deadline);
  }
  absl::Status Shutdown(const VmRef& vm, absl::Time deadline) override {
    return real_->Shutdown(vm, deadline);
  }

 private:
  // What happens at `point` of `vm`, before the call.
  absl::Status Meet(FaultPoint point, const VmRef& vm, absl::Time deadline) {
    LU_RETURN_IF_ERROR(injector_.Meet(point, vm.name, deadline));
    return injector_.LibvirtAnswers();
  }

  Hypervisor* const real_;
  FaultInjector& injector_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULTY_HYPERVISOR_H_
