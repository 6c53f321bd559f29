#ifndef TESTING_FAKE_CLOCK_H_
#define TESTING_FAKE_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "host_update/clock.h"

namespace live_update::testing {

// A TSC of 1 GHz. Every look at it takes five milliseconds.
class FakeClock final : public Clock {
 public:
  ClockSample Sample() override {
    now_ns_ += 5'000'000;
    ClockSample sample;
    sample.set_tsc(static_cast<uint64_t>(now_ns_));
    sample.set_realtime_ns(now_ns_ + realtime_offset_ns_);
    sample.set_boottime_ns(now_ns_ - booted_at_ns_);
    return sample;
  }

  absl::Status SetRealtime(absl::Time now) override {
    realtime_offset_ns_ = absl::ToUnixNanos(now) - now_ns_;
    return absl::OkStatus();
  }

  // What a kexec of `seconds` does: boot time starts again, the wall clock is
  // read from the RTC, which loses the fraction of a second.
  void Kexec(double seconds) {
    now_ns_ += static_cast<int64_t>(seconds * 1e9);
    booted_at_ns_ = now_ns_.load();
    realtime_offset_ns_ -= 400'000'000;
  }

  int64_t realtime_offset_ns() const { return realtime_offset_ns_; }

 private:
  std::atomic<int64_t> now_ns_ = 5'000'000'000;
  std::atomic<int64_t> booted_at_ns_ = 0;
  std::atomic<int64_t> realtime_offset_ns_ = 1'700'000'000'000'000'000;
};

}  // namespace live_update::testing

#endif  // TESTING_FAKE_CLOCK_H_
