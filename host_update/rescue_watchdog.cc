#include "host_update/rescue_watchdog.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/pidfd.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace live_update {
namespace {

constexpr int kFeed = SIGUSR1;
constexpr int kStop = SIGTERM;
// For a process that only waits, to end.
constexpr absl::Duration kEndPatience = absl::Seconds(2);

// Of the whole file.
struct flock WriteLock() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

// The watchdog's process; invalid: none runs.
absl::StatusOr<UniqueFd> FindWatchdog(const std::string& lock_path) {
  const UniqueFd file(open(lock_path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.ok()) {
    if (errno == ENOENT) return UniqueFd();
    return absl::ErrnoToStatus(errno, lock_path);
  }
  struct flock lock = WriteLock();
  if (fcntl(file.get(), F_GETLK, &lock) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("lock of ", lock_path));
  }
  if (lock.l_type == F_UNLCK) return UniqueFd();
  absl::StatusOr<UniqueFd> process = OpenPidfd(lock.l_pid);
  if (absl::IsNotFound(process.status())) return UniqueFd();
  return process;
}

// OK also if it has ended.
absl::Status Send(const UniqueFd& process, int signal) {
  absl::Status sent = SendSignal(process, signal);
  return absl::IsNotFound(sent) ? absl::OkStatus()
                                : Annotate(sent, "the rescue's watchdog");
}

// Runs also when the host is out of memory, or busy.
void StandOut() {
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    LogWarning("the rescue's watchdog may be swapped out");
  }
  const struct sched_param priority { .sched_priority = 1 };
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
    LogWarning("the rescue's watchdog has no priority");
  }
}

// In the child. Returns once it is stopped, or has crashed in vain.
void Watch(const sigset_t& signals, absl::Duration timeout,
           const UniqueFd& trigger) {
  const timespec wait = absl::ToTimespec(timeout);
  for (;;) {
    const int signal = sigtimedwait(&signals, nullptr, &wait);
    if (signal == kStop) return;
    if (signal < 0 && errno == EAGAIN) break;
  }
  LogError(absl::StrCat("no VM is restored, and nothing got on for ",
                        absl::ToInt64Seconds(timeout),
                        " s: crashing into the rescue kernel"));
  if (write(trigger.get(), "c", 1) != 1) LogError("the crash failed");
}

}  // namespace

absl::Status StartRescueWatchdog(const std::string& lock_path,
                                 absl::Duration timeout,
                                 const std::string& trigger) {
  const UniqueFd crash(open(trigger.c_str(), O_WRONLY | O_CLOEXEC));
  if (!crash.ok()) return absl::ErrnoToStatus(errno, trigger);
  const UniqueFd file(
      open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.ok()) return absl::ErrnoToStatus(errno, lock_path);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  const UniqueFd result(ends[0]);
  UniqueFd child_result(ends[1]);

  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork a watchdog");
  if (child == 0) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, kFeed);
    sigaddset(&signals, kStop);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    struct flock lock = WriteLock();  // Of this process, not the parent's.
    const bool locked = fcntl(file.get(), F_SETLK, &lock) == 0;
    if (!locked || write(child_result.get(), "1", 1) != 1) _exit(1);
    child_result.Reset();
    setsid();
    StandOut();
    Watch(signals, timeout, crash);
    _exit(0);
  }
  child_result.Reset();
  char byte = 0;
  if (read(result.get(), &byte, 1) == 1) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("another watchdog holds ", lock_path));
}

absl::Status FeedRescueWatchdog(const std::string& lock_path) {
  LU_ASSIGN_OR_RETURN(const UniqueFd process, FindWatchdog(lock_path));
  return process.ok() ? Send(process, kFeed) : absl::OkStatus();
}

absl::Status StopRescueWatchdog(const std::string& lock_path) {
  LU_ASSIGN_OR_RETURN(const UniqueFd process, FindWatchdog(lock_path));
  if (!process.ok()) return absl::OkStatus();
  for (const int signal : {kStop, SIGKILL}) {
    LU_RETURN_IF_ERROR(Send(process, signal));
    if (HasEnded(process, absl::Now() + kEndPatience)) return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat("the rescue's watchdog does not end in ",
                   absl::ToInt64Seconds(kEndPatience), " s"));
}

}  // namespace live_update
