// The host's clocks: a seam, because time restarts at a kexec and tests can't
// wait.

#ifndef HOST_UPDATE_CLOCK_H_
#define HOST_UPDATE_CLOCK_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

class Clock {
 public:
  virtual ~Clock() = default;

  // All clocks at one moment (read back to back, within microseconds).
  virtual ClockSample Sample() = 0;

  // Sets CLOCK_REALTIME. kPermissionDenied: no CAP_SYS_TIME.
  virtual absl::Status SetRealtime(absl::Time now) = 0;
};

std::unique_ptr<Clock> NewSystemClock();

// Ticks of the TSC per second between two samples of one boot; 0 if they are
// less than 10 ms apart or the TSC did not advance.
double MeasureTscHz(const ClockSample& from, const ClockSample& to);

// The time from a moment in the old kernel to one in the new.
struct ClockBridge {
  bool by_tsc = false;    // False: by CLOCK_REALTIME, exact to 1 to 2 s.
  double seconds = 0;     // From `before` to `after`.
  double clock_step = 0;  // What has to be added to `after`'s CLOCK_REALTIME,
                          // in seconds, for it to go on from `before`'s. 0
                          // unless by_tsc.
};

// `tsc_hz` as the old kernel measured it (0: not usable). The TSC is believed
// if it went forward and agrees with the wall clock, which the new kernel reads
// from the RTC in whole seconds, within 3 s.
ClockBridge BridgeClocks(const ClockSample& before, double tsc_hz,
                         const ClockSample& after);

}  // namespace live_update

#endif  // HOST_UPDATE_CLOCK_H_
