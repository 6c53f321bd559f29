#ifndef TESTING_FAULTS_FAULTY_KEXEC_H_
#define TESTING_FAULTS_FAULTY_KEXEC_H_

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "loader/kexec.h"
#include "testing/faults/fault_injector.h"

namespace live_update::testing {

// A kexec in front of another one, with faults at "stage" and "reboot".
class FaultyKexec final : public loader::Kexec {
 public:
  // Both must outlive it.
  FaultyKexec(loader::Kexec* real, FaultInjector* injector)
      : real_(real), injector_(*injector) {}

  absl::Status StageFile(const UniqueFd& kernel, const UniqueFd& initrd,
                         const std::string& command_line) override {
    LU_RETURN_IF_ERROR(
        injector_.Meet(FaultPoint::kStage, "", absl::InfiniteFuture()));
    return real_->StageFile(kernel, initrd, command_line);
  }
  absl::Status StageDirect(
      const UniqueFd& kernel, const UniqueFd& initrd,
      const std::string& command_line, loader::DirectEntry entry,
      const std::vector<loader::PhysRange>& untouched) override {
    LU_RETURN_IF_ERROR(
        injector_.Meet(FaultPoint::kStage, "", absl::InfiniteFuture()));
    return real_->StageDirect(kernel, initrd, command_line, entry, untouched);
  }
  absl::Status Unstage() override { return real_->Unstage(); }
  absl::StatusOr<bool> IsStaged() override { return real_->IsStaged(); }
  absl::Status Jump() override {
    LU_RETURN_IF_ERROR(
        injector_.Meet(FaultPoint::kReboot, "", absl::InfiniteFuture()));
    return real_->Jump();
  }

 private:
  loader::Kexec* const real_;
  FaultInjector& injector_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULTY_KEXEC_H_
