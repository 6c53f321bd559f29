#include "testing/lab/guest/clocks.h"

#include <fcntl.h>
#include <linux/rtc.h>
#include <sys/ioctl.h>

#include <cstdint>
#include <ctime>

namespace {

double Seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

double MonotonicSeconds() { return Seconds(CLOCK_MONOTONIC); }

double WallSeconds() { return Seconds(CLOCK_REALTIME); }

int64_t RealTimeClock::Seconds() {
  if (fd_ < 0) fd_ = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
  rtc_time read{};
  if (fd_ < 0 || ioctl(fd_, RTC_RD_TIME, &read) != 0) return 0;
  std::tm utc{};
  utc.tm_sec = read.tm_sec;
  utc.tm_min = read.tm_min;
  utc.tm_hour = read.tm_hour;
  utc.tm_mday = read.tm_mday;
  utc.tm_mon = read.tm_mon;
  utc.tm_year = read.tm_year;
  return timegm(&utc);
}
