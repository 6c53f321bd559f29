#include "host_update/rescue.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/early_restore.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/rescue.pb.h"
#include "host_update/rescue_watchdog.h"
#include "loader/command_line.h"

namespace live_update {
namespace {

constexpr char kFinding[] = "RESCUE";
constexpr uint64_t kMaxNoteBytes = 1 << 16;
constexpr uint64_t kMaxSettingBytes = 64;
constexpr mode_t kRunDirMode = 0711;  // Of packaging/systemd/*.tmpfiles.
constexpr double kNanosPerSecond = 1e9;

// What a kernel needs that starts from a crash: one processor, for a second one
// may be in any state, devices that are reset, and an end of its own if it
// crashes, too.
constexpr char kCrashWords[] = "nr_cpus=1 reset_devices panic=30";

// What leaves a host hanging is a crash as long as there is a rescue.
constexpr const char* kPanicSettings[] = {
    "panic_on_oops", "hung_task_panic", "softlockup_panic", "hardlockup_panic"};

// Each page of the range takes 64 bytes of what the kernel has; the rest is for
// kernel, initrd, systemd, libvirtd and a QEMU for each VM.
constexpr uint64_t kLeastReservedBytes = uint64_t{512} << 20;
constexpr uint64_t kRangeBytesPerByte = 64;

std::string NotePath(const Paths& paths) {
  return absl::StrCat(paths.state_dir, "/rescue");
}
std::string StatePath(const Paths& paths) {
  return absl::StrCat(paths.run_dir, "/rescue");
}
std::string WatchdogPath(const Paths& paths) {
  return absl::StrCat(paths.run_dir, "/rescue-watchdog");
}

// kNotFound: there is none.
template <typename Message>
absl::StatusOr<Message> ReadNote(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxNoteBytes));
  Message message;
  if (message.ParseFromString(bytes)) return message;
  return absl::DataLossError(absl::StrCat(path, " is damaged"));
}

// The value of the last word `name=` of `line`; empty if there is none.
std::string ValueOf(absl::string_view line, absl::string_view name) {
  std::string value;
  const auto words = loader::SplitCommandLine(line);
  if (!words.ok()) return value;
  for (const loader::Parameter& word : words->kernel) {
    if (word.name == name) value = std::string(word.value);
  }
  return value;
}

// The running kernel, as its package has installed it.
RescueKernel RunningKernel(const HostFacts& host) {
  RescueKernel kernel;
  kernel.set_boot_id(host.boot_id);
  kernel.set_release(host.kernel_release);
  kernel.set_kernel_path(absl::StrCat("/boot/vmlinuz-", host.kernel_release));
  kernel.set_initrd_path(
      absl::StrCat("/boot/initrd.img-", host.kernel_release));
  return kernel;
}

// How the host was booted, as it would be after a crash of `target`.
absl::StatusOr<std::string> RescueCommandLine(const UpdateRequest& request,
                                              const CheckedHost& checked) {
  const HostFacts& host = checked.host;
  LU_ASSIGN_OR_RETURN(const loader::CommandLine running,
                      loader::OrdinaryWords(host.command_line));
  std::vector<std::string> words;
  for (const loader::Parameter& word : running.kernel) {
    if (word.name != "crashkernel") words.emplace_back(word.word);
  }
  UpdateRequest as_it_was;
  as_it_was.early_restore = request.early_restore;
  std::string early = FirstBootWords(as_it_was, host);
  if (!early.empty() && checked.watchdog.ok()) {
    absl::StrAppend(&early, HardwareWatchdogWords(*checked.watchdog));
  }
  const std::string rescue = absl::StrCat(kCrashWords, " ", kRescueWord, "=",
                                          checked.target.release());
  const std::string line = absl::StrJoin(words, " ");
  // The words of a first boot belong together.
  return early.empty() ? loader::TargetCommandLine(line, rescue)
                       : loader::TargetCommandLine(
                             line, "", absl::StrCat(early, " ", rescue));
}

UniqueFd OpenToRead(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

// Why `kernel` can't be staged for a crash of this one.
absl::Status StageRescue(const RescueKernel& kernel, const Dependencies& deps) {
  if (deps.crash_kexec == nullptr) {
    return absl::UnimplementedError("this program has no crash kexec");
  }
  LU_ASSIGN_OR_RETURN(const uint64_t reserved,
                      deps.crash_kexec->ReservedBytes());
  if (reserved == 0) {
    return absl::FailedPreconditionError(
        "crashkernel= is not on this kernel's command line, or found no room");
  }
  LU_ASSIGN_OR_RETURN(const bool staged, deps.crash_kexec->IsStaged());
  if (staged) {
    return absl::AlreadyExistsError(
        "another crash kernel is staged already, by kdump perhaps: it is left "
        "alone");
  }
  const std::string& root = deps.paths.root;
  const UniqueFd image = OpenToRead(root + kernel.kernel_path());
  if (!image.ok()) return absl::ErrnoToStatus(errno, kernel.kernel_path());
  const UniqueFd initrd = OpenToRead(root + kernel.initrd_path());
  if (!initrd.ok()) return absl::ErrnoToStatus(errno, kernel.initrd_path());
  return Annotate(deps.crash_kexec->Stage(image, initrd, kernel.command_line()),
                  absl::StrCat("stage ", kernel.kernel_path()));
}

// Files of /proc are written in place.
absl::Status WriteSetting(const std::string& path, const std::string& value) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, path);
  return Annotate(WriteAll(fd, value), path);
}

void PanicOnHangs(const Paths& paths, RescueState& state) {
  for (const char* name : kPanicSettings) {
    const std::string path = absl::StrCat(paths.sysctl_dir, "/", name);
    const absl::StatusOr<std::string> before = ReadFile(path, kMaxSettingBytes);
    if (!before.ok()) continue;  // Not of this kernel.
    if (absl::Status set = WriteSetting(path, "1"); !set.ok()) {
      LogWarning(set.message());
      continue;
    }
    RescueState::Setting& setting = *state.add_settings();
    setting.set_name(name);
    setting.set_value(std::string(absl::StripAsciiWhitespace(*before)));
  }
}

// The settings as they were. What can't be written is logged.
void ResetPanicSettings(const Paths& paths, const RescueState& state) {
  for (const RescueState::Setting& setting : state.settings()) {
    const absl::Status status = WriteSetting(
        absl::StrCat(paths.sysctl_dir, "/", setting.name()), setting.value());
    if (!status.ok()) LogWarning(status.message());
  }
}

// The rescue goes without one where it can't be had.
void StartWatchdog(const RescueKernel& kernel, const Paths& paths,
                   RescueState& state) {
  if (kernel.watchdog_s() <= 0) return;
  const absl::Status started = StartRescueWatchdog(
      WatchdogPath(paths), absl::Seconds(kernel.watchdog_s()),
      paths.sysrq_trigger);
  if (started.ok()) {
    state.set_watchdog_s(kernel.watchdog_s());
  } else {
    LogWarning(absl::StrCat("the rescue has no watchdog: ", started.message()));
  }
}

// A crashkernel= that would do.
std::string RoomNeeded(const HostFacts& host) {
  uint64_t bytes = kLeastReservedBytes;
  if (host.preserved.ok() && host.preserved->range.ok()) {
    bytes += host.preserved->range->size_bytes / kRangeBytesPerByte;
  }
  return absl::StrCat(bytes >> 20, "M");
}

}  // namespace

void CheckRescue(const UpdateRequest& request, const CheckedHost& checked,
                 const Dependencies& deps, Findings& findings) {
  const HostFacts& host = checked.host;
  if (const std::string crashed = ValueOf(host.command_line, kRescueWord);
      !crashed.empty()) {
    return findings.Error(
        kFinding,
        absl::StrCat("this host runs in a rescue kernel, since ", crashed,
                     " crashed: it knows no memory but what crashkernel= had "
                     "set aside, and would hand that down to the next kernel"),
        "move or shut down the VMs, then reboot the host cold");
  }
  if (!request.rescue) return;
  const std::string off = "`rescue = off` in /etc/host-update.conf";
  if (request.backend != "dax") {
    return findings.Warning(
        kFinding,
        absl::StrCat("there is no rescue with ", request.backend,
                     ": a crash of the new kernel drops what was preserved"),
        absl::StrCat("backend = dax, or ", off));
  }
  const RescueKernel kernel = RunningKernel(host);
  for (const std::string& path : {kernel.kernel_path(), kernel.initrd_path()}) {
    if (access(absl::StrCat(deps.paths.root, path).c_str(), R_OK) == 0) {
      continue;
    }
    return findings.Error(
        kFinding,
        absl::StrCat("there is no ", path,
                     ": the running kernel can't be the rescue kernel"),
        absl::StrCat("install its package again, or ", off));
  }
  if (!request.kernel_path.empty() &&
      ValueOf(checked.target.command_line, "crashkernel").empty()) {
    return findings.Error(
        kFinding,
        "the target's command line has no crashkernel=, so there is no room "
        "for a rescue kernel",
        absl::StrCat("--append crashkernel=", RoomNeeded(host),
                     " (at least; more with many VMs), or ", off));
  }
  return findings.Ok(
      kFinding,
      absl::StrCat(
          "should the new kernel crash",
          request.rescue_watchdog_s > 0
              ? absl::StrCat(", or hang for ", request.rescue_watchdog_s, " s,")
              : "",
          " once ", kRescueUnit, " has run and before VMs do, ",
          host.kernel_release,
          " takes over in what crashkernel= has set aside (", RoomNeeded(host),
          " at least)"));
}

absl::Status NoteRescueKernel(const UpdateRequest& request,
                              const CheckedHost& checked,
                              const Dependencies& deps) {
  if (!request.rescue || request.backend != "dax") {
    return RemoveIfThere(NotePath(deps.paths));
  }
  RescueKernel kernel = RunningKernel(checked.host);
  kernel.set_watchdog_s(request.rescue_watchdog_s);
  LU_ASSIGN_OR_RETURN(*kernel.mutable_command_line(),
                      RescueCommandLine(request, checked));
  return Annotate(
      WriteFileAtomically(NotePath(deps.paths), kernel.SerializeAsString()),
      "note the rescue kernel");
}

absl::Status ArmRescue(const Dependencies& deps) {
  const auto note = ReadNote<RescueKernel>(NotePath(deps.paths));
  if (absl::IsNotFound(note.status())) {
    return absl::NotFoundError("no rescue is asked for");
  }
  LU_RETURN_IF_ERROR(note.status());
  const RescueKernel& kernel = *note;
  LU_ASSIGN_OR_RETURN(const HostFacts host, deps.host_facts());
  if (kernel.boot_id() == host.boot_id) {
    return absl::NotFoundError("the rescue kernel is for the next kernel");
  }
  // systemd's tmpfiles may come later.
  if (mkdir(deps.paths.run_dir.c_str(), kRunDirMode) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, deps.paths.run_dir);
  }
  const absl::Status staged = StageRescue(kernel, deps);
  RescueState state;
  state.set_release(kernel.release());
  state.set_armed(staged.ok());
  state.set_reason(std::string(staged.message()));
  if (staged.ok()) {
    PanicOnHangs(deps.paths, state);
    StartWatchdog(kernel, deps.paths, state);
  }
  *state.mutable_armed_at() = deps.clock->Sample();
  LU_RETURN_IF_ERROR(
      WriteFileAtomically(StatePath(deps.paths), state.SerializeAsString()));
  return Annotate(staged, "no rescue kernel");
}

void FeedRescue(const Dependencies& deps) {
  if (const absl::Status fed = FeedRescueWatchdog(WatchdogPath(deps.paths));
      !fed.ok()) {
    LogWarning(fed.message());
  }
}

absl::Status EndForcedCrashes(const Dependencies& deps) {
  LU_RETURN_IF_ERROR(StopRescueWatchdog(WatchdogPath(deps.paths)));
  const auto state = ReadNote<RescueState>(StatePath(deps.paths));
  if (state.ok()) ResetPanicSettings(deps.paths, *state);
  return absl::OkStatus();
}

absl::Status DisarmRescue(const Dependencies& deps) {
  absl::Status status = EndForcedCrashes(deps);
  status.Update(RemoveIfThere(NotePath(deps.paths)));
  const auto state = ReadNote<RescueState>(StatePath(deps.paths));
  if (absl::IsNotFound(state.status())) return status;
  LU_RETURN_IF_ERROR(state.status());
  if (state->armed() && deps.crash_kexec != nullptr) {
    status.Update(deps.crash_kexec->Unstage());
  }
  status.Update(RemoveIfThere(StatePath(deps.paths)));
  return status;
}

void ReportRescue(const HostFacts& host, double committed_s,
                  const ClockSample& resumed, double resumed_s,
                  const Dependencies& deps, UpdateReport& report) {
  if (const std::string crashed = ValueOf(host.command_line, kRescueWord);
      !crashed.empty()) {
    report.mutable_rescue()->set_crashed_kernel(crashed);
    report.mutable_rescue()->set_kernel(host.kernel_release);
    LogError(absl::StrCat("kernel ", crashed,
                          " crashed before all VMs ran in "
                          "it; ",
                          host.kernel_release, " has taken over"));
    return;
  }
  const auto state = ReadNote<RescueState>(StatePath(deps.paths));
  if (!state.ok()) return;
  UpdateReport::Rescue& rescue = *report.mutable_rescue();
  rescue.set_kernel(state->release());
  rescue.set_armed(state->armed());
  rescue.set_reason(state->reason());
  rescue.set_watchdog_s(state->watchdog_s());
  rescue.set_new_kernel_s(resumed_s - committed_s);
  if (!state->armed()) return;
  rescue.set_covered_s(static_cast<double>(resumed.boottime_ns() -
                                           state->armed_at().boottime_ns()) /
                       kNanosPerSecond);
}

}  // namespace live_update
