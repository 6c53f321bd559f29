#ifndef TESTING_FAULTS_FAULT_INJECTOR_H_
#define TESTING_FAULTS_FAULT_INJECTOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "host_update/hypervisor.h"
#include "testing/faults/fault.h"

namespace live_update::testing {

// How the actions are done. The sweep has others than a real host.
struct FaultEffects {
  std::function<void()> kill_process;  // Does not return.
  std::function<void(const std::string& vm)> kill_qemu;
  std::function<void()> kill_libvirt;
  absl::Duration delay = absl::Seconds(30);
  // A stall where there is no deadline.
  absl::Duration stall = absl::InfiniteDuration();
  // How long libvirt answers nothing after kill_libvirt, if that does nothing.
  absl::Duration outage = absl::ZeroDuration();
};

// Of the host that this process runs on.
FaultEffects RealEffects();

// Lets one armed fault happen, once, when its point is met. Calls may come from
// several threads.
class FaultInjector {
 public:
  FaultInjector(Fault fault, FaultEffects effects)
      : fault_(std::move(fault)), effects_(std::move(effects)) {}

  // OK unless a fault at this point, for this VM, makes it fail. Errors and
  // waits are met each time, everything else once. `vm` is a name.
  absl::Status Meet(FaultPoint point, absl::string_view vm,
                    absl::Time deadline);
  absl::Status MeetPhase(Phase phase) {
    return Meet(PointOf(phase), "", absl::InfiniteFuture());
  }

  // kUnavailable in an outage (FaultEffects). To be asked by every call to the
  // hypervisor.
  absl::Status LibvirtAnswers() const;

  // The handover image of this update lies there, or will.
  void SetImage(absl::Span<uint8_t> image);
  // Preserved memory knows VMs by UUID alone; faults know them by name.
  void Learn(const VmRef& vm);
  std::string NameOfUuid(absl::string_view uuid) const;

  bool met() const { return met_; }
  const Fault& fault() const { return fault_; }

 private:
  absl::Status Act(absl::Time deadline);
  void DamageImage();

  const Fault fault_;
  const FaultEffects effects_;
  std::atomic<bool> met_ = false;
  std::atomic<bool> killed_ = false;
  std::atomic<int64_t> outage_ends_ns_ = 0;
  mutable std::mutex mutex_;
  absl::Span<uint8_t> image_;
  std::map<std::string, std::string, std::less<>> names_;  // By UUID.
};

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULT_INJECTOR_H_
