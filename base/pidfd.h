// A process held by a descriptor, so that its number can't come to mean
// another's (pidfd_open(2)).

#ifndef BASE_PIDFD_H_
#define BASE_PIDFD_H_

#include <sys/types.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace live_update {

// Readable once the process has ended. kNotFound: there is no such process.
absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid);

// kNotFound: it has ended.
absl::Status SendSignal(const UniqueFd& pidfd, int signal);

// Waits until the process has ended, at most until `deadline`; whether it has.
bool HasEnded(const UniqueFd& pidfd, absl::Time deadline);

}  // namespace live_update

#endif  // BASE_PIDFD_H_
