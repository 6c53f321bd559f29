// Who is at the other end of a connection, as the kernel tells it.

#ifndef HOST_UPDATE_SERVICE_CALLER_H_
#define HOST_UPDATE_SERVICE_CALLER_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace live_update {

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;  // When it connected; it may have ended since.

  // "uid 1000, pid 4711"
  std::string Description() const;
};

// The peer of a connected UNIX socket (SO_PEERCRED).
absl::StatusOr<Caller> CallerOf(int socket);

// Whether `caller` is root or a member of `group`. False if there is no such
// group or user.
bool IsRootOrMember(const Caller& caller, const std::string& group);

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_CALLER_H_
