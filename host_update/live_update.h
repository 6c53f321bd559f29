// The old kernel's side of a live update: from a running host into the staged
// kernel. restore.h mirrors it. README.md tells the life of an update.

#ifndef HOST_UPDATE_LIVE_UPDATE_H_
#define HOST_UPDATE_LIVE_UPDATE_H_

#include "absl/status/status.h"
#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"

namespace live_update {

struct LiveUpdateResult {
  // Why it ended. OK only if it was to be prepared only, or the jump returned
  // OK, which a real one never does.
  absl::Status status;
  bool no_go = false;  // The check said so; nothing was touched.
  CheckReport check;
  // `result` is PREPARED, FAILED_UNHARMED or FAILED_RESUME, if !no_go.
  UpdateReport report;
};

// Takes the host into the kernel that `request` names. On success it does not
// return, unless request.prepare_only: then all that can fail while VMs run has
// been done, and taken back. On failure every VM runs as it did before the
// call, no kernel is staged and nothing is preserved; where that could not be
// brought about, report.result is FAILED_RESUME and report.reason names the
// VMs.
//
// The caller holds the RunLock. An update that was cut off earlier is undone
// first.
LiveUpdateResult LiveUpdate(const UpdateRequest& request,
                            const Dependencies& deps);

// What LiveUpdate would do. Changes nothing. Errors as of CheckHost.
absl::StatusOr<UpdatePlan> PlanUpdate(const UpdateRequest& request,
                                      const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_LIVE_UPDATE_H_
