// A request of the daemon's, as the command line that it stands for. The daemon
// has no privileges and what it sends may be anybody's: everything is checked.

#ifndef HOST_UPDATE_WORKER_WORKER_REQUEST_H_
#define HOST_UPDATE_WORKER_WORKER_REQUEST_H_

#include "absl/status/statusor.h"
#include "host_update/cli/options.h"
#include "host_update/worker/worker.pb.h"

namespace live_update {

// `base` with the command of `request`. kInvalidArgument: it is none, or
// something in it is longer or other than it may be. kPermissionDenied: only
// root may ask for this, with host-update itself. Looks at no file.
absl::StatusOr<Options> OptionsOf(const WorkerRequest& request,
                                  const Options& base);

// Whether what is to be booted is root's alone to write: a regular file that
// belongs to root, in directories that do. kPermissionDenied: it isn't.
absl::Status CheckOwnedByRoot(const std::string& path);

}  // namespace live_update

#endif  // HOST_UPDATE_WORKER_WORKER_REQUEST_H_
