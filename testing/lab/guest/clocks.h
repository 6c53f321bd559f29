#ifndef TESTING_LAB_GUEST_CLOCKS_H_
#define TESTING_LAB_GUEST_CLOCKS_H_

#include <cstdint>

// Seconds of CLOCK_MONOTONIC and CLOCK_REALTIME. The guest's own: both stand
// still while the VM is paused.
double MonotonicSeconds();
double WallSeconds();

// The machine's real-time clock, which QEMU derives from the host's clock and
// which therefore goes on while the VM is paused.
class RealTimeClock {
 public:
  // Seconds since 1970, 0 where there is no such clock.
  int64_t Seconds();

 private:
  int fd_ = -1;
};

#endif  // TESTING_LAB_GUEST_CLOCKS_H_
