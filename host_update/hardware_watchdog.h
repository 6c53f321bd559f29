// The host's hardware watchdog over an update: a new kernel that hangs before
// anything of this program runs in it is reset, and the next boot restores the
// VMs if their memory outlived that.
//
//   old kernel   NoteHardwareWatchdog   which one, into the state folder
//                StartHardwareWatchdog  right before the jump
//   new kernel   its driver is loaded by a word of the command line
//     restorer   FeedHardwareWatchdog   takes it over, then at each step
//                StopHardwareWatchdog   the restore has come to an end
//
// rescue.h is for what hangs later, and needs no reset.

#ifndef HOST_UPDATE_HARDWARE_WATCHDOG_H_
#define HOST_UPDATE_HARDWARE_WATCHDOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "host_update/preflight_findings.h"
#include "host_update/watchdog_device.h"

namespace live_update {

// Of the one that `request` names. kNotFound: none is asked for.
absl::StatusOr<WatchdogFacts> LookAtHardwareWatchdog(
    const UpdateRequest& request, const Dependencies& deps);

// More words, each after a space, for the command line of the target's first
// boot: they load the driver.
std::string HardwareWatchdogWords(const WatchdogFacts& facts);

// The finding "UPDATE_WATCHDOG"; none if none is asked for.
void CheckHardwareWatchdog(const UpdateRequest& request,
                           const absl::StatusOr<WatchdogFacts>& facts,
                           const loader::TargetKernel& target,
                           Findings& findings);

// Without a watchdog in `request` it removes what an earlier update may have
// noted.
absl::Status NoteHardwareWatchdog(const UpdateRequest& request,
                                  const absl::StatusOr<WatchdogFacts>& facts,
                                  const Dependencies& deps);

// From here on the host is reset if nobody feeds it. OK if none is noted. An
// error: nothing is started.
absl::Status StartHardwareWatchdog(const Dependencies& deps);

// Called by the restorer whenever it got on. Takes it over first, if that was
// not done yet. OK, and nothing done, if none is noted. Any thread may call it.
void FeedHardwareWatchdog(const Dependencies& deps);

// Stops it, whichever process started it, and forgets it. OK if none is noted.
// An error: the host will be reset; the message has when, and what to do.
absl::Status StopHardwareWatchdog(const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_HARDWARE_WATCHDOG_H_
