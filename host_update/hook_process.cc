#include "host_update/hook_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/pidfd.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace live_update {
namespace {

constexpr size_t kLongestLine = 512;  // Bytes.
constexpr int kMostLines = 200;
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(100);
// What was killed and is not gone by then hangs in the kernel.
constexpr absl::Duration kPatienceWithTheDead = absl::Seconds(1);

// Foreign bytes, cut into lines.
class Lines {
 public:
  explicit Lines(const std::function<void(absl::string_view)>& output)
      : output_(output) {}

  void Take(absl::string_view bytes) {
    for (const char c : bytes) {
      if (c == '\n') {
        End();
      } else if (line_.size() < kLongestLine) {
        line_ += c;
      }
    }
  }

  void End() {
    if (line_.empty()) return;
    const bool plain = std::all_of(line_.begin(), line_.end(), [](char c) {
      return absl::ascii_isprint(static_cast<unsigned char>(c));
    });
    last_ = plain ? line_ : absl::CHexEscape(line_);
    last_.resize(std::min(last_.size(), kLongestLine));
    line_.clear();
    if (++count_ < kMostLines) output_(last_);
    if (count_ == kMostLines) output_("(more lines are not kept)");
  }

  const std::string& last() const { return last_; }

 private:
  const std::function<void(absl::string_view)>& output_;
  std::string line_;
  std::string last_;
  int count_ = 0;
};

// In the child, between fork and exec, where nothing may be called that takes a
// lock: this process has other threads.
[[noreturn]] void Become(const char* path, char* const* argv, char* const* env,
                         int input, int output, pid_t parent) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    sigaction(number, &by_default, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  if (dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
      dup2(output, STDERR_FILENO) >= 0 && close_range(3, ~0U, 0) == 0 &&
      chdir("/") == 0) {
    execve(path, argv, env);
  }
  static constexpr char kWords[] = "can't be executed\n";
  (void)!write(STDERR_FILENO, kWords, sizeof(kWords) - 1);
  _exit(127);
}

struct Child {
  pid_t pid = -1;
  UniqueFd ended;   // Readable once it has.
  UniqueFd output;  // Of a pipe, does not block.
};

absl::StatusOr<Child> Start(const HookProcess& process) {
  const auto error = [&process](absl::string_view what) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("start ", process.path, ": ", what));
  };
  const UniqueFd input(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input.ok()) return error("open /dev/null");
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return error("pipe");
  Child child;
  child.output.Reset(pipe_ends[0]);
  const UniqueFd output(pipe_ends[1]);
  if (fcntl(child.output.get(), F_SETFL, O_NONBLOCK) != 0) return error("pipe");

  std::vector<char*> environment;
  for (const std::string& variable : process.environment) {
    environment.push_back(const_cast<char*>(variable.c_str()));
  }
  environment.push_back(nullptr);
  char* const arguments[] = {const_cast<char*>(process.path.c_str()), nullptr};
  const pid_t parent = getpid();
  child.pid = fork();
  if (child.pid == 0) {
    Become(process.path.c_str(), arguments, environment.data(), input.get(),
           output.get(), parent);
  }
  if (child.pid < 0) return error("fork");
  absl::StatusOr<UniqueFd> pidfd = OpenPidfd(child.pid);
  if (!pidfd.ok()) {
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
    return Annotate(pidfd.status(), absl::StrCat("start ", process.path));
  }
  child.ended = *std::move(pidfd);
  return child;
}

// Reads what is there now. False: there will be no more.
bool ReadOutput(const Child& child, Lines& lines) {
  char buffer[4096];
  // Bounded, that one who never stops writing does not hold up its own end.
  for (int reads = 0; reads < 64; ++reads) {
    const ssize_t size = read(child.output.get(), buffer, sizeof(buffer));
    if (size == 0) return false;
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    lines.Take(absl::string_view(buffer, static_cast<size_t>(size)));
  }
  return true;
}

// Waits for the end, for output, or until `until`. Returns whether it ended.
bool WaitForEnd(const Child& child, absl::Time until, bool& has_output,
                Lines& lines) {
  pollfd watched[] = {
      {.fd = child.ended.get(), .events = POLLIN, .revents = 0},
      {.fd = child.output.get(), .events = POLLIN, .revents = 0}};
  const absl::Duration wait =
      std::clamp(until - absl::Now(), absl::ZeroDuration(), kBetweenLooks);
  const int ready = poll(watched, has_output ? 2 : 1,
                         static_cast<int>(absl::ToInt64Milliseconds(wait)));
  if (ready <= 0) return false;
  if (has_output && watched[1].revents != 0) {
    has_output = ReadOutput(child, lines);
  }
  return watched[0].revents != 0;
}

std::string LastWords(const Lines& lines) {
  return lines.last().empty() ? ""
                              : absl::StrCat("; its last line: ", lines.last());
}

absl::Status StatusOf(int wait_status, const Lines& lines) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) {
    return absl::OkStatus();
  }
  if (WIFSIGNALED(wait_status)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "killed by signal ", WTERMSIG(wait_status), LastWords(lines)));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("exit status ", WEXITSTATUS(wait_status), LastWords(lines)));
}

}  // namespace

absl::Status RunHookProcess(const HookProcess& process) {
  const absl::Time deadline = absl::Now() + process.limit;
  LU_ASSIGN_OR_RETURN(const Child child, Start(process));
  Lines lines(process.output);
  bool has_output = true;
  absl::Status status;
  while (!WaitForEnd(child, deadline, has_output, lines)) {
    if (process.stop && process.stop()) {
      status = absl::CancelledError("stopped on request");
    } else if (absl::Now() >= deadline) {
      status = absl::DeadlineExceededError(
          absl::StrCat("it did not end within ",
                       absl::FormatDuration(process.limit), LastWords(lines)));
    }
    if (status.ok()) continue;
    kill(-child.pid, SIGKILL);
    // Between its fork and its setsid it has no group yet.
    kill(child.pid, SIGKILL);
    const absl::Time patience = absl::Now() + kPatienceWithTheDead;
    bool ended = false;
    while (!ended && absl::Now() < patience) {
      ended = WaitForEnd(child, patience, has_output, lines);
    }
    lines.End();
    if (ended) waitpid(child.pid, nullptr, 0);
    return status;
  }
  if (has_output) ReadOutput(child, lines);
  lines.End();
  int wait_status = 0;
  if (waitpid(child.pid, &wait_status, 0) != child.pid) {
    return absl::ErrnoToStatus(errno, "wait for it");
  }
  return StatusOf(wait_status, lines);
}

}  // namespace live_update
