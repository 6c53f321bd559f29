#include "base/pidfd.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

// The C library's header for these system calls is not made for C++ (glibc
// 2.36).
namespace live_update {

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.ok()) return pidfd;
  return absl::ErrnoToStatus(errno, absl::StrCat("pidfd_open of ", pid));
}

absl::Status SendSignal(const UniqueFd& pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("send signal ", signal));
}

bool HasEnded(const UniqueFd& pidfd, absl::Time deadline) {
  while (true) {
    pollfd process = {.fd = pidfd.get(), .events = POLLIN, .revents = 0};
    const absl::Duration left =
        std::clamp(deadline - absl::Now(), absl::ZeroDuration(),
                   absl::Duration(absl::Hours(1)));
    const int ready =
        poll(&process, 1, static_cast<int>(absl::ToInt64Milliseconds(left)));
    if (ready > 0) return true;
    if (ready == 0 && absl::Now() >= deadline) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace live_update
