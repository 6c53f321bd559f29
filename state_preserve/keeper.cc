#include "state_preserve/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "state_preserve/keeper_message.h"
#include "state_preserve/keeper_protocol.h"

namespace live_update {
namespace {

constexpr int kBacklog = 64;
constexpr int kGraceMs = 30 * 1000;       // For the first descriptor to come.
constexpr timeval kPeerTimeout = {2, 0};  // A peer that stops halfway.
constexpr uint32_t kMaxFdsPerRequest = 8;

// The keeper itself. Runs in the child of a process that may have had other
// threads, so nothing here allocates or takes a lock: system calls only.
class Keeper {
 public:
  Keeper() {
    for (Entry& entry : entries_) entry.fd = -1;
  }

  // Until there is nothing left to keep.
  void Serve(int listener) {
    bool was_used = false;
    while (!asked_to_end_ && !(was_used && count_ == 0)) {
      pollfd waiting = {.fd = listener, .events = POLLIN, .revents = 0};
      const int ready = poll(&waiting, 1, was_used ? -1 : kGraceMs);
      if (ready == 0) return;
      if (ready < 0) continue;  // EINTR: nothing else can be.
      const int peer = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) {
        // Out of descriptors, or the peer is gone. Don't spin on the former.
        poll(nullptr, 0, 10);
        continue;
      }
      HandleConnection(peer);
      close(peer);
      was_used = was_used || count_ > 0;
    }
  }

 private:
  struct Entry {
    int fd;
    char name[kKeeperNameBytes];
  };

  static bool IsAllowed(int peer) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    return getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &credentials, &size) ==
               0 &&
           credentials.uid == geteuid();
  }

  void HandleConnection(int peer) {
    if (!IsAllowed(peer)) return;
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &kPeerTimeout,
               sizeof(kPeerTimeout));
    setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &kPeerTimeout,
               sizeof(kPeerTimeout));

    KeeperRequest request{};
    int fds[kMaxFdsPerRequest];
    uint32_t fd_count = 0;
    int error = Receive(peer, request, fds, fd_count);
    int fd_to_send = -1;
    std::memset(&reply_, 0, sizeof(reply_));
    reply_.magic = kKeeperMagic;
    reply_.pid = getpid();
    if (error == 0) error = Handle(request, fds, fd_count, fd_to_send);
    for (uint32_t i = 0; i < fd_count; ++i) {
      if (fds[i] >= 0) close(fds[i]);  // Not taken.
    }
    reply_.error = error;
    // A reply that its peer does not wait for is lost; the peer asks again.
    (void)SendWithFd(peer, &reply_, sizeof(reply_),
                     error == 0 ? fd_to_send : -1);
  }

  // Fills `request` and `fds`; the latter also if it returns an error.
  static int Receive(int peer, KeeperRequest& request, int* fds,
                     uint32_t& fd_count) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerRequest)];
    iovec data = {.iov_base = &request, .iov_len = sizeof(request)};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t got = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) return errno;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        continue;
      }
      const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count && fd_count < kMaxFdsPerRequest; ++i) {
        std::memcpy(&fds[fd_count++], CMSG_DATA(header) + i * sizeof(int),
                    sizeof(int));
      }
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) return EMFILE;
    if (got != sizeof(request) || (message.msg_flags & MSG_TRUNC) != 0 ||
        request.magic != kKeeperMagic || request.reserved != 0) {
      return EPROTO;
    }
    return 0;
  }

  // Sets an entry of `fds` to -1 if it is taken.
  int Handle(const KeeperRequest& request, int* fds, uint32_t fd_count,
             int& fd_to_send) {
    const bool is_put = request.operation == KeeperOperation::kPut;
    if (fd_count != (is_put ? 1 : 0)) return EPROTO;
    switch (request.operation) {
      case KeeperOperation::kList:
        return List(request.first_slot);
      case KeeperOperation::kEndIfEmpty:
        asked_to_end_ = count_ == 0;
        return 0;
      case KeeperOperation::kPut:
      case KeeperOperation::kGet:
      case KeeperOperation::kDrop:
        break;
      default:
        return EPROTO;
    }
    if (!IsKeeperName(request.name)) return EINVAL;
    Entry* entry = Find(request.name);
    if (is_put) {
      if (entry != nullptr) return EEXIST;
      return Put(request.name, fds[0]);
    }
    if (entry == nullptr) return ENOENT;
    if (request.operation == KeeperOperation::kGet) {
      fd_to_send = entry->fd;
      return 0;
    }
    close(entry->fd);
    entry->fd = -1;
    --count_;
    return 0;
  }

  int Put(const char* name, int& fd) {
    for (Entry& entry : entries_) {
      if (entry.fd >= 0) continue;
      entry.fd = fd;
      fd = -1;
      std::memcpy(entry.name, name, kKeeperNameBytes);
      ++count_;
      return 0;
    }
    return ENOSPC;
  }

  int List(uint32_t slot) {
    if (slot > kKeeperMaxEntries) return EINVAL;
    for (; slot < kKeeperMaxEntries; ++slot) {
      if (entries_[slot].fd < 0) continue;
      if (reply_.name_count == kKeeperNamesPerReply) break;
      std::memcpy(reply_.names[reply_.name_count++], entries_[slot].name,
                  kKeeperNameBytes);
    }
    reply_.next_slot = slot;
    return 0;
  }

  Entry* Find(const char* name) {
    if (count_ == 0) return nullptr;
    for (Entry& entry : entries_) {
      if (entry.fd >= 0 &&
          std::strncmp(entry.name, name, kKeeperNameBytes) == 0) {
        return &entry;
      }
    }
    return nullptr;
  }

  Entry entries_[kKeeperMaxEntries];
  uint32_t count_ = 0;
  bool asked_to_end_ = false;
  KeeperReply reply_;
};

void ResetSignals() {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);
}

// Leaves 0 to 2 on /dev/null and the listener as 3, and nothing else open.
bool KeepOnlyTheListener(int listener) {
  constexpr int kListener = 3;
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return false;
  // Not onto each other: the copy is above all that is written to.
  const int high = fcntl(listener, F_DUPFD_CLOEXEC, 16);
  if (high < 0) return false;
  for (int fd = 0; fd < kListener; ++fd) {
    if (null != fd && dup2(null, fd) < 0) return false;
  }
  if (dup3(high, kListener, O_CLOEXEC) < 0) return false;
  return close_range(kListener + 1, ~0U, 0) == 0;
}

// The last process of StartKeeper(). Its name goes before it does, so that
// whoever finds no name may start another keeper; after a kill the name stays,
// and nobody listens.
[[noreturn]] void RunKeeper(Keeper& keeper, int listener,
                            const char* socket_path) {
  ResetSignals();
  if (!KeepOnlyTheListener(listener) || chdir("/") != 0) _exit(1);
  prctl(PR_SET_NAME, "hu-keeper");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (oom >= 0) {
    [[maybe_unused]] const ssize_t written = write(oom, "-1000", 5);
    close(oom);
  }
  keeper.Serve(3);
  unlink(socket_path);
  _exit(0);
}

// A listening socket with its name and its rights, from the first moment on.
absl::StatusOr<UniqueFd> Listen(const std::string& socket_path) {
  const std::string temporary = absl::StrCat(socket_path, ".new");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (temporary.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(socket_path, ": too long for a socket's name"));
  }
  std::memcpy(address.sun_path, temporary.c_str(), temporary.size() + 1);
  UniqueFd listener(
      socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.ok()) return absl::ErrnoToStatus(errno, "make a socket");
  unlink(temporary.c_str());
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address),
           sizeof(address)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("bind ", temporary));
  }
  if (chmod(temporary.c_str(), 0600) != 0 ||
      listen(listener.get(), kBacklog) != 0 ||
      rename(temporary.c_str(), socket_path.c_str()) != 0) {
    const absl::Status status =
        absl::ErrnoToStatus(errno, absl::StrCat("listen on ", socket_path));
    unlink(temporary.c_str());
    return status;
  }
  return listener;
}

}  // namespace

absl::Status StartKeeper(const std::string& socket_path) {
  LU_ASSIGN_OR_RETURN(const UniqueFd listener, Listen(socket_path));
  const auto keeper = std::make_unique<Keeper>();  // The child can't allocate.
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork a keeper");
  if (child == 0) {
    if (setsid() < 0) _exit(1);
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      RunKeeper(*keeper, listener.get(), socket_path.c_str());
    }
    _exit(grandchild < 0 ? 1 : 0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    // ECHILD: our parent had us ignore children's ends. Then it is not known.
    if (errno != EINTR) return absl::OkStatus();
  }
  if (status == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the keeper of preserved memory can't be started: fork failed in its "
      "first half (see pids.max and TasksMax=)");
}

}  // namespace live_update
