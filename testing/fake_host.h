#ifndef TESTING_FAKE_HOST_H_
#define TESTING_FAKE_HOST_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "state_preserve/luo_fake_kernel.h"
#include "testing/fake_clock.h"
#include "testing/fake_hypervisor.h"
#include "testing/fake_kexec.h"

namespace live_update::testing {

// A whole host of fakes in a folder of its own, which outlives a Kexec(): the
// preserved memory is a real backend, on a plain directory or on a fake kernel
// with real keepers.
class FakeHost {
 public:
  enum class Backend { kDirectory, kLuo };

  explicit FakeHost(Backend backend = Backend::kDirectory);
  ~FakeHost();

  Dependencies& deps() { return deps_; }
  FakeHypervisor& hypervisor() { return *hypervisor_; }
  FakeKexec& kexec() { return kexec_; }
  FakeClock& clock() { return clock_; }

  // For a target kernel that is always fit.
  UpdateRequest Request() const;

  // The next kernel: another boot id, nothing in /run, no VM, no staged kernel.
  void Kexec(double seconds);

  // A reset after which nothing is left of what was preserved.
  void ResetLosingMemory();

  // The process of this program ends, however: the next one opens preserved
  // memory anew.
  void NextProcess();

  // On entering `phase`: an injected kInternal, always, until StopFailing; the
  // end of the process; or `action`, once.
  void FailOn(Phase phase) { fail_on_ = phase; }
  void StopFailing() { fail_on_.reset(); }
  void DieOn(Phase phase) { die_on_ = phase; }
  void OnEntering(Phase phase, std::function<void()> action) {
    actions_[phase] = std::move(action);
  }

  // With kLuo.
  LuoFakeKernel& luo_kernel() { return luo_kernel_; }
  void KillKeeper();

  // Files that the outgoing and incoming sets consist of. Empty: nothing is
  // preserved. With kDirectory.
  std::vector<std::string> LeftInPreservedMemory() const;

  // Damages the handover that waits for the next restore. With kDirectory.
  void FlipHandoverByte(size_t offset);

 private:
  void OpenMemory();

  const Backend backend_;
  std::string dir_;
  int boots_ = 0;
  LuoFakeKernel luo_kernel_;
  FakeClock clock_;
  FakeKexec kexec_;
  std::unique_ptr<FakeHypervisor> hypervisor_;
  std::unique_ptr<PreservedMemory> memory_;
  std::optional<Phase> fail_on_;
  std::optional<Phase> die_on_;
  std::map<Phase, std::function<void()>> actions_;
  Dependencies deps_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAKE_HOST_H_
