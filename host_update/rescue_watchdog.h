// The rescue's watchdog: a process that crashes the kernel if nobody feeds it,
// for what hangs is best ended by a crash once a rescue kernel is staged.
//
// A process, and no device of /dev/watchdog*: softdog would be the first of
// these in an early boot, and take the place of the hardware's.
//
// It holds a lock of a file, by which the others find it. What keeps processes
// from being scheduled at all is for the kernel's own lockup detectors.

#ifndef HOST_UPDATE_RESCUE_WATCHDOG_H_
#define HOST_UPDATE_RESCUE_WATCHDOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace live_update {

// Returns once the process watches. Goes by without a feed for `timeout`, it
// writes "c" to `trigger` (/proc/sysrq-trigger), and ends. Only for a program
// without other threads. kAlreadyExists: there is one at `lock_path`.
absl::Status StartRescueWatchdog(const std::string& lock_path,
                                 absl::Duration timeout,
                                 const std::string& trigger);

// OK if none runs.
absl::Status FeedRescueWatchdog(const std::string& lock_path);

// After it no crash will come from the watchdog: its process is gone. OK if
// none runs; kDeadlineExceeded: it can't be killed.
absl::Status StopRescueWatchdog(const std::string& lock_path);

}  // namespace live_update

#endif  // HOST_UPDATE_RESCUE_WATCHDOG_H_
