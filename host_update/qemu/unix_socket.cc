#include "host_update/qemu/unix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace live_update {
namespace {

// Descriptors we can tell from "too many" in one recvmsg(2).
constexpr size_t kMaxFdsAtOnce = 4;

// poll(2)'s timeout until `deadline`, rounded up so that it is not spun.
int PollTimeout(absl::Time deadline) {
  const absl::Duration left = std::clamp(
      deadline - absl::Now(), absl::ZeroDuration(), absl::Minutes(1));
  return static_cast<int>(
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))));
}

absl::StatusOr<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket path of ", path.size(), " bytes, at most ",
                     sizeof(address.sun_path) - 1, " are possible: ", path));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<UniqueFd> NewSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, "socket");
  return fd;
}

}  // namespace

absl::StatusOr<WakeUp> WakeUp::Create() {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, "eventfd");
  return WakeUp(std::move(fd));
}

void WakeUp::Set() {
  // Can only fail with EAGAIN at 2^64 - 2 calls.
  (void)eventfd_write(fd_.get(), 1);
}

absl::Status WaitFor(int fd, int16_t events, absl::string_view what,
                     const WakeUp* wake_up, absl::Time deadline) {
  while (true) {
    std::array<pollfd, 2> fds = {
        {{.fd = fd, .events = events, .revents = 0},
         {.fd = wake_up == nullptr ? -1 : wake_up->fd(),
          .events = POLLIN,
          .revents = 0}}};
    const int ready = poll(fds.data(), fds.size(), PollTimeout(deadline));
    if (ready < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("poll for ", what));
    }
    if (ready > 0) {
      if (fds[1].revents != 0) {
        return absl::CancelledError(absl::StrCat("broke off: ", what));
      }
      return absl::OkStatus();
    }
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("waited for ", what));
    }
  }
}

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, uid_t uid,
                                    gid_t gid) {
  LU_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  LU_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("unlink ", path));
  }
  // The mode of the socket before bind(2) is the mode of the file (unix(7)).
  if (fchmod(fd.get(), 0600) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("fchmod for ", path));
  }
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
           sizeof(address)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("bind ", path));
  }
  if (lchown(path.c_str(), uid, gid) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("chown ", path));
  }
  if (listen(fd.get(), 1) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("listen at ", path));
  }
  return fd;
}

absl::StatusOr<UniqueFd> AcceptUnix(int listener, absl::string_view what,
                                    const WakeUp* wake_up,
                                    absl::Time deadline) {
  while (true) {
    LU_RETURN_IF_ERROR(WaitFor(listener, POLLIN, what, wake_up, deadline));
    UniqueFd fd(
        accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.ok()) return fd;
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      return absl::ErrnoToStatus(errno, absl::StrCat("accept ", what));
    }
  }
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  LU_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0) {
    return fd;
  }
  const int error = errno;
  if (error == ENOENT || error == ECONNREFUSED || error == EAGAIN ||
      error == EINTR) {
    return absl::UnavailableError(absl::StrCat("nobody listens at ", path));
  }
  return absl::ErrnoToStatus(error, absl::StrCat("connect to ", path));
}

absl::Status CheckPeer(int socket, const PeerCheck& check) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return absl::ErrnoToStatus(errno, "SO_PEERCRED");
  }
  return check(peer.pid, peer.uid);
}

absl::StatusOr<Received> ReceiveWithFds(int socket, absl::Span<uint8_t> buffer,
                                        absl::string_view what,
                                        const WakeUp* wake_up,
                                        absl::Time deadline) {
  while (true) {
    LU_RETURN_IF_ERROR(WaitFor(socket, POLLIN, what, wake_up, deadline));
    iovec data = {.iov_base = buffer.data(), .iov_len = buffer.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsAtOnce)];
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("read ", what));

    Received received{.bytes = static_cast<size_t>(n), .fds = {}};
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        continue;
      }
      const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
        received.fds.emplace_back(fd);
      }
    }
    // Those that did not fit are closed by the kernel.
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("too many file descriptors at once in ", what));
    }
    return received;
  }
}

absl::Status SendWithFd(int socket, absl::string_view bytes, int fd,
                        absl::string_view what, const WakeUp* wake_up,
                        absl::Time deadline) {
  while (!bytes.empty()) {
    LU_RETURN_IF_ERROR(WaitFor(socket, POLLOUT, what, wake_up, deadline));
    iovec data = {.iov_base = const_cast<char*>(bytes.data()),
                  .iov_len = bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (fd >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    }
    const ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      return absl::UnavailableError(
          absl::StrCat("the other side hung up on ", what));
    }
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("send ", what));
    bytes.remove_prefix(static_cast<size_t>(n));
    fd = -1;
  }
  return absl::OkStatus();
}

}  // namespace live_update
