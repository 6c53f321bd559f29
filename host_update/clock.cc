#include "host_update/clock.h"

#include <time.h>
#include <x86intrin.h>

#include <cerrno>
#include <cmath>
#include <cstdint>

namespace live_update {
namespace {

constexpr double kNanosPerSecond = 1e9;
constexpr double kLongestDisagreement = 3.0;  // s; RTC seconds at both ends.

int64_t ReadClock(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

class SystemClock final : public Clock {
 public:
  ClockSample Sample() override {
    ClockSample sample;
    sample.set_tsc(__rdtsc());
    sample.set_realtime_ns(ReadClock(CLOCK_REALTIME));
    sample.set_boottime_ns(ReadClock(CLOCK_BOOTTIME));
    return sample;
  }

  absl::Status SetRealtime(absl::Time now) override {
    const timespec value = absl::ToTimespec(now);
    if (clock_settime(CLOCK_REALTIME, &value) != 0) {
      return absl::ErrnoToStatus(errno, "set CLOCK_REALTIME");
    }
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Clock> NewSystemClock() {
  return std::make_unique<SystemClock>();
}

double MeasureTscHz(const ClockSample& from, const ClockSample& to) {
  const double seconds =
      static_cast<double>(to.boottime_ns() - from.boottime_ns()) /
      kNanosPerSecond;
  if (seconds < 0.01 || to.tsc() <= from.tsc()) return 0;
  return static_cast<double>(to.tsc() - from.tsc()) / seconds;
}

ClockBridge BridgeClocks(const ClockSample& before, double tsc_hz,
                         const ClockSample& after) {
  const double by_realtime =
      static_cast<double>(after.realtime_ns() - before.realtime_ns()) /
      kNanosPerSecond;
  ClockBridge bridge{.seconds = by_realtime};
  if (tsc_hz <= 0 || !std::isfinite(tsc_hz) || after.tsc() <= before.tsc()) {
    return bridge;
  }
  const double by_tsc =
      static_cast<double>(after.tsc() - before.tsc()) / tsc_hz;
  if (std::fabs(by_tsc - by_realtime) > kLongestDisagreement) return bridge;
  return {
      .by_tsc = true, .seconds = by_tsc, .clock_step = by_tsc - by_realtime};
}

}  // namespace live_update
