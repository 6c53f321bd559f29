// The rescue kernel: should the new kernel crash before VMs run in it, the one
// that the host came from takes over and restores them from the same handover.
//
//   old kernel       NoteRescueKernel    which one it is, into the state folder
//   new kernel       ArmRescue           it is staged for a crash
//     restorer       FeedRescue          at each step: nothing hangs
//     a VM may run   EndForcedCrashes    a hang crashes nothing any more
//     all VMs run    DisarmRescue        it is given up, and reported
//   rescue kernel    RestoreAll, as in any boot; ReportRescue says where it is
//
// With the backend dax alone: what luo preserves does not outlive a crash.

#ifndef HOST_UPDATE_RESCUE_H_
#define HOST_UPDATE_RESCUE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "host_update/check.h"
#include "host_update/clock.h"
#include "host_update/dependencies.h"
#include "host_update/host_facts.h"
#include "host_update/preflight_findings.h"
#include "host_update/report/report.pb.h"
#include "host_update/spans.h"

namespace live_update {

inline constexpr absl::string_view kRescueUnit = "host-update-rescue.service";

// Of the rescue kernel's command line; its value is the kernel that crashed.
inline constexpr absl::string_view kRescueWord = "host_update.rescue";

// The finding "RESCUE": what is covered, or why nothing is. None if no rescue
// is asked for, and the host is not in a rescue kernel.
void CheckRescue(const UpdateRequest& request, const CheckedHost& checked,
                 const Dependencies& deps, Findings& findings);

// In the old kernel, before the jump. Without a rescue in `request` it removes
// what an earlier update may have noted.
absl::Status NoteRescueKernel(const UpdateRequest& request,
                              const CheckedHost& checked,
                              const Dependencies& deps);

// In the new kernel, first of all. Also has what would leave the host hanging
// crash it: an oops, a task that does not get on, a restore that FeedRescue
// hears nothing of (rescue_watchdog.h, which see for threads). What came of it
// is noted for the report. kNotFound: no rescue is asked for.
absl::Status ArmRescue(const Dependencies& deps);

// Called by the restorer whenever it got on. Does nothing if nothing is armed.
void FeedRescue(const Dependencies& deps);

// Before the first VM runs: what merely hangs crashes the host no more, for
// that would cost this VM; a crash of the kernel's own still leads into the
// rescue kernel. Any thread may call it, any number of times. An error: the
// watchdog still runs.
absl::Status EndForcedCrashes(const Dependencies& deps);

// Once VMs run: undoes all that ArmRescue did, and forgets the kernel. A crash
// kernel that somebody else has staged is left alone. OK if nothing is armed.
absl::Status DisarmRescue(const Dependencies& deps);

// Puts into `report` whether this is a rescue, and how much of the new kernel's
// time up to `resumed`, when the last VM ran, was covered by one.
void ReportRescue(const HostFacts& host, double committed_s,
                  const ClockSample& resumed, double resumed_s,
                  const Dependencies& deps, UpdateReport& report);

}  // namespace live_update

#endif  // HOST_UPDATE_RESCUE_H_
