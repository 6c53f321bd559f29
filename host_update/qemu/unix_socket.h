// UNIX sockets that carry file descriptors, with a deadline on everything.

#ifndef HOST_UPDATE_QEMU_UNIX_SOCKET_H_
#define HOST_UPDATE_QEMU_UNIX_SOCKET_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"

namespace live_update {

// Breaks off a wait that is under way in another thread, or will be: once set
// it stays set. An eventfd(2).
class WakeUp {
 public:
  static absl::StatusOr<WakeUp> Create();
  void Set();
  int fd() const { return fd_.get(); }

 private:
  explicit WakeUp(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Waits until `fd` is ready for `events` (of poll(2)) or hung up.
// kDeadlineExceeded: it was not; `what` is in the message. kCancelled:
// `wake_up` (may be null) was set.
absl::Status WaitFor(int fd, int16_t events, absl::string_view what,
                     const WakeUp* wake_up, absl::Time deadline);

// A listening socket at `path`, which is replaced if it exists, with mode 0600
// and owned by `uid` and `gid`: nobody else but root can connect.
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, uid_t uid,
                                    gid_t gid);

// The next connection to `listener`. Errors as of WaitFor.
absl::StatusOr<UniqueFd> AcceptUnix(int listener, absl::string_view what,
                                    const WakeUp* wake_up, absl::Time deadline);

// One attempt to connect to `path`. kUnavailable: nobody listens there (yet).
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path);

// Says whether the process at the other end is the one it should be: its pid
// and user when it connected (or, of a listener, when it began to listen).
using PeerCheck = std::function<absl::Status(pid_t pid, uid_t uid)>;

absl::Status CheckPeer(int socket, const PeerCheck& check);

struct Received {
  size_t bytes = 0;  // 0: the other side has closed or shut down.
  std::vector<UniqueFd> fds;
};

// Receives once, at most buffer.size() bytes, and whatever descriptors come
// with them (close-on-exec). kInvalidArgument: more descriptors than anybody
// sends us; those that came are closed.
absl::StatusOr<Received> ReceiveWithFds(int socket, absl::Span<uint8_t> buffer,
                                        absl::string_view what,
                                        const WakeUp* wake_up,
                                        absl::Time deadline);

// Sends all of `bytes`; `fd`, unless -1, goes with the first of them.
// kUnavailable: the other side is gone.
absl::Status SendWithFd(int socket, absl::string_view bytes, int fd,
                        absl::string_view what, const WakeUp* wake_up,
                        absl::Time deadline);

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_UNIX_SOCKET_H_
