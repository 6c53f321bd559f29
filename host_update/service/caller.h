// Who is at the other end of a connection, as the kernel tells it.

#ifndef HOST_UPDATE_SERVICE_CALLER_H_
#define HOST_UPDATE_SERVICE_CALLER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update {

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;  // When it connected; it may have ended since.
  // A pidfd of that process, made once it had connected: as long as it has not
  // ended, `pid` is nobody else's. Null: there was none to be had.
  std::shared_ptr<const UniqueFd> process;

  // "uid 1000, pid 4711"
  std::string Description() const;
};

// What a connection is good for. `kAsk`: the authority (authority.h) is asked
// at each call that is more than looking.
enum class Access { kRead, kAsk, kManage };

// The peer of a connected UNIX socket (SO_PEERCRED).
absl::StatusOr<Caller> CallerOf(int socket);

// Whether `caller` is root or a member of `group`. False if there is no such
// group or user.
bool IsRootOrMember(const Caller& caller, const std::string& group);

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_CALLER_H_
