#include "loader/reader_process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace live_update::loader {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(2);
// An embedded configuration is some 300 KiB, all else a few.
constexpr size_t kMaxAnswerBytes = size_t{8} << 20;
constexpr uid_t kNobody = 65534;
// A file and what it unpacks to, at their largest, and the unpacker.
constexpr rlim_t kMaxMemoryBytes = rlim_t{3} << 30;

#ifdef __SANITIZE_ADDRESS__  // Its runtime makes calls of its own.
constexpr uint32_t kOtherCalls = SECCOMP_RET_ALLOW;
#else
constexpr uint32_t kOtherCalls = SECCOMP_RET_KILL_PROCESS;
#endif

absl::Status Check(int result, const char* what) {
  return result == 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, what);
}

absl::Status SetLimit(int resource, rlim_t value) {
  const rlimit limit = {.rlim_cur = value, .rlim_max = value};
  return Check(setrlimit(static_cast<__rlimit_resource>(resource), &limit),
               "setrlimit");
}

// Kills the process at any other system call, and at memory that can be
// executed.
std::vector<sock_filter> Filter() {
  constexpr uint16_t kLoad = BPF_LD | BPF_W | BPF_ABS;
  constexpr uint16_t kIfEqual = BPF_JMP | BPF_JEQ | BPF_K;
  constexpr uint16_t kReturn = BPF_RET | BPF_K;
  const auto at = [](size_t offset) { return static_cast<uint32_t>(offset); };
  std::vector<sock_filter> filter = {
      {kLoad, 0, 0, at(offsetof(seccomp_data, arch))},
      {kIfEqual, 1, 0, AUDIT_ARCH_X86_64},
      {kReturn, 0, 0, SECCOMP_RET_KILL_PROCESS},
      {kLoad, 0, 0, at(offsetof(seccomp_data, nr))},
  };
  for (const uint32_t call :
       {SYS_read, SYS_write, SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk,
        SYS_futex, SYS_exit, SYS_exit_group, SYS_sched_yield, SYS_getpid,
        SYS_gettid, SYS_tgkill, SYS_rt_sigprocmask, SYS_rt_sigreturn,
        SYS_clock_gettime, SYS_getrandom}) {
    filter.push_back({kIfEqual, 0, 1, call});
    filter.push_back({kReturn, 0, 0, SECCOMP_RET_ALLOW});
  }
  const std::vector<sock_filter> memory = {
      {kIfEqual, 2, 0, SYS_mmap},
      {kIfEqual, 1, 0, SYS_mprotect},
      {kReturn, 0, 0, kOtherCalls},
      {kLoad, 0, 0, at(offsetof(seccomp_data, args) + 2 * sizeof(uint64_t))},
      {BPF_JMP | BPF_JSET | BPF_K, 0, 1, PROT_EXEC},
      {kReturn, 0, 0, SECCOMP_RET_KILL_PROCESS},
      {kReturn, 0, 0, SECCOMP_RET_ALLOW},
  };
  filter.insert(filter.end(), memory.begin(), memory.end());
  return filter;
}

// In another one root is a user like others, and may have nobody else to be.
bool IsInitialUserNamespace() {
  constexpr ino_t kInitial = 0xEFFFFFFD;  // PROC_USER_INIT_INO
  struct stat name_space {};
  return stat("/proc/self/ns/user", &name_space) != 0 ||
         name_space.st_ino == kInitial;
}

absl::Status DropCapabilities() {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3,
                                     .pid = 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  return Check(static_cast<int>(syscall(SYS_capset, &header, none)), "capset");
}

absl::Status Confine() {
  LU_RETURN_IF_ERROR(Check(
      static_cast<int>(syscall(SYS_close_range, 3, ~0U, 0)), "close_range"));
  if (geteuid() == 0 && IsInitialUserNamespace()) {
    LU_RETURN_IF_ERROR(Check(setgroups(0, nullptr), "setgroups"));
    LU_RETURN_IF_ERROR(
        Check(setresgid(kNobody, kNobody, kNobody), "setresgid"));
    LU_RETURN_IF_ERROR(
        Check(setresuid(kNobody, kNobody, kNobody), "setresuid"));
  }
  LU_RETURN_IF_ERROR(DropCapabilities());
  LU_RETURN_IF_ERROR(
      Check(prctl(PR_SET_PDEATHSIG, SIGKILL), "die with parent"));
  LU_RETURN_IF_ERROR(Check(prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE"));
  LU_RETURN_IF_ERROR(SetLimit(RLIMIT_CORE, 0));
#ifndef __SANITIZE_ADDRESS__  // Which maps terabytes.
  LU_RETURN_IF_ERROR(SetLimit(RLIMIT_AS, kMaxMemoryBytes));
#endif
  std::vector<sock_filter> filter = Filter();
  const sock_fprog program = {.len = static_cast<uint16_t>(filter.size()),
                              .filter = filter.data()};
  LU_RETURN_IF_ERROR(
      Check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS"));
  return Check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program),
               "PR_SET_SECCOMP");
}

// Starts the reader: its pid. It has `file` and `answer`, no environment, and
// our standard error.
absl::StatusOr<pid_t> Start(const UniqueFd& file, const UniqueFd& answer) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = "host-update", argument = kKernelReaderArgument;
  char* const arguments[] = {name.data(), argument.data(), nullptr};
  char* const environment[] = {nullptr};
  pid_t pid = 0;
  int error = posix_spawn_file_actions_adddup2(&actions, file.get(), 0);
  if (error == 0) {
    error = posix_spawn_file_actions_adddup2(&actions, answer.get(), 1);
  }
  if (error == 0) {
    error = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes,
                        arguments, environment);
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::ErrnoToStatus(error, "start the process that reads kernels");
  }
  return pid;
}

// All that comes out of `pipe` until its other end is closed.
absl::StatusOr<std::string> ReadAnswer(const UniqueFd& pipe,
                                       absl::Time deadline) {
  std::string answer;
  std::array<char, 65536> buffer;
  while (true) {
    pollfd readable = {.fd = pipe.get(), .events = POLLIN, .revents = 0};
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("not read within ", absl::FormatDuration(kPatience)));
    }
    const int ready = poll(
        &readable, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "poll");
    if (ready <= 0) continue;
    const ssize_t got = read(pipe.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "read the answer");
    if (got == 0) return answer;
    if (static_cast<size_t>(got) > kMaxAnswerBytes - answer.size()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("an answer of more than ", kMaxAnswerBytes, " bytes"));
    }
    answer.append(buffer.data(), static_cast<size_t>(got));
  }
}

absl::Status EndOf(int status) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    return absl::InternalError(
        absl::StrCat("the process that read it was ended by signal ", number,
                     ", ", sigdescr_np(number)));
  }
  if (WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "the process that was to read it failed, exit ", WEXITSTATUS(status)));
}

absl::StatusOr<KernelReading> TryToRead(const UniqueFd& file) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  LU_ASSIGN_OR_RETURN(const pid_t pid, Start(file, theirs));
  theirs.Reset();
  const absl::StatusOr<std::string> answer =
      ReadAnswer(ours, absl::Now() + kPatience);
  if (!answer.ok()) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno == EINTR) continue;
    return absl::ErrnoToStatus(errno, "wait for the reader");
  }
  LU_RETURN_IF_ERROR(answer.status());
  LU_RETURN_IF_ERROR(EndOf(status));
  return UnpackReading(*answer);
}

}  // namespace

KernelReading ReadKernelApart(const UniqueFd& file) {
  absl::StatusOr<KernelReading> reading = TryToRead(file);
  if (reading.ok()) return *std::move(reading);
  return {.image = reading.status(), .facts = reading.status()};
}

int RunKernelReader(const KernelReader& read) {
  if (const absl::Status confined = Confine(); !confined.ok()) {
    LogError(absl::StrCat("read a kernel: ", confined.message()));
    return 1;
  }
  UniqueFd in(0), out(1);
  const absl::Status written = WriteAll(out, PackReading(read(in)));
  // Nothing is left to tidy up, and no call that it would take.
  _exit(written.ok() ? 0 : 1);
}

}  // namespace live_update::loader
