#include "host_update/hardware_watchdog.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/hardware_watchdog.pb.h"

namespace live_update {
namespace {

constexpr char kFinding[] = "UPDATE_WATCHDOG";
constexpr uint64_t kMaxNoteBytes = 4096;

std::string NotePath(const Paths& paths) {
  return absl::StrCat(paths.state_dir, "/watchdog");
}

// kNotFound: no update is guarded.
absl::StatusOr<WatchdogNote> ReadNote(const Paths& paths) {
  LU_ASSIGN_OR_RETURN(const std::string bytes,
                      ReadFile(NotePath(paths), kMaxNoteBytes));
  WatchdogNote note;
  if (note.ParseFromString(bytes)) return note;
  return absl::DataLossError(
      absl::StrCat(NotePath(paths), " is damaged; remove it"));
}

absl::Status StartOrFeed(const WatchdogNote& note, const Dependencies& deps) {
  if (deps.watchdog == nullptr) {
    return absl::UnimplementedError("this program has no hardware watchdog");
  }
  LU_ASSIGN_OR_RETURN(const std::string path,
                      deps.watchdog->Find(note.identity()));
  return deps.watchdog->StartOrFeed(path, absl::Seconds(note.timeout_s()));
}

// The first of its modules that the target does not have; "" if it has all.
std::string MissingModule(const WatchdogFacts& facts,
                          const loader::ModuleSet& target) {
  for (const std::string& module : facts.modules) {
    if (!target.Has(module)) return module;
  }
  return "";
}

}  // namespace

absl::StatusOr<WatchdogFacts> LookAtHardwareWatchdog(
    const UpdateRequest& request, const Dependencies& deps) {
  if (request.watchdog.empty()) return absl::NotFoundError("not asked for");
  if (deps.watchdog == nullptr) {
    return absl::UnimplementedError("this program has no hardware watchdog");
  }
  return deps.watchdog->Look(request.watchdog);
}

std::string HardwareWatchdogWords(const WatchdogFacts& facts) {
  // systemd-modules-load.service(8)
  return facts.modules.empty()
             ? ""
             : absl::StrCat(" modules_load=",
                            absl::StrJoin(facts.modules, ","));
}

void CheckHardwareWatchdog(const UpdateRequest& request,
                           const absl::StatusOr<WatchdogFacts>& facts,
                           const loader::TargetKernel& target,
                           Findings& findings) {
  if (request.watchdog.empty()) return;
  const std::string off = "take `watchdog =` out of /etc/host-update.conf";
  const auto refuse = [&](absl::string_view message, absl::string_view remedy) {
    findings.Error(kFinding, message, absl::StrCat(remedy, ", or ", off));
  };
  if (!facts.ok()) {
    return refuse(absl::StrCat("no watchdog ", request.watchdog, ": ",
                               facts.status().message()),
                  "load its driver");
  }
  const std::string name =
      absl::StrCat(request.watchdog, " (", facts->identity, ")");
  if (facts->active) {
    return refuse(
        absl::StrCat(name, " is in use: only one program can feed it"),
        "have systemd (RuntimeWatchdogSec=) or the watchdog daemon "
        "leave it alone");
  }
  if (!facts->stoppable) {
    return refuse(absl::StrCat(name,
                               " can't be stopped once it runs: it would "
                               "reset the host after the update"),
                  "load its driver with nowayout=0");
  }
  if (!facts->stays_on) {
    return refuse(absl::StrCat("the kernel stops ", name, " on its way down"),
                  "boot this host with watchdog.stop_on_reboot=0");
  }
  if (request.rescue &&
      request.rescue_watchdog_s >= request.watchdog_timeout_s) {
    return refuse(
        absl::StrCat(name, " resets the host after ",
                     request.watchdog_timeout_s,
                     " s, and what hangs crashes into the rescue kernel only "
                     "after ",
                     request.rescue_watchdog_s),
        "make watchdog-timeout longer than rescue-watchdog");
  }
  if (!request.kernel_path.empty()) {
    if (!target.modules.ok()) {
      return refuse(absl::StrCat("it is not known whether the target has a "
                                 "driver for ",
                                 name, ": ", target.modules.status().message()),
                    "install the target's modules");
    }
    if (const std::string missing = MissingModule(*facts, *target.modules);
        !missing.empty()) {
      return refuse(
          absl::StrCat("the target has no module ", missing, ": ", name,
                       " could not be stopped there, and would reset "
                       "the host"),
          "install it");
    }
  }
  return findings.Ok(
      kFinding,
      absl::StrCat("should the new kernel hang before VMs run, ", name,
                   " resets the host ", request.watchdog_timeout_s,
                   " s after the jump; ",
                   request.backend == "dax"
                       ? "the next boot restores VMs if the firmware leaves "
                         "their memory as it is"
                       : "what was preserved is lost then"));
}

absl::Status NoteHardwareWatchdog(const UpdateRequest& request,
                                  const absl::StatusOr<WatchdogFacts>& facts,
                                  const Dependencies& deps) {
  if (request.watchdog.empty()) return RemoveIfThere(NotePath(deps.paths));
  LU_RETURN_IF_ERROR(facts.status());
  WatchdogNote note;
  note.set_identity(facts->identity);
  note.set_timeout_s(request.watchdog_timeout_s);
  return Annotate(
      WriteFileAtomically(NotePath(deps.paths), note.SerializeAsString()),
      "note the watchdog");
}

absl::Status StartHardwareWatchdog(const Dependencies& deps) {
  const auto note = ReadNote(deps.paths);
  if (absl::IsNotFound(note.status())) return absl::OkStatus();
  LU_RETURN_IF_ERROR(note.status());
  return Annotate(StartOrFeed(*note, deps), "start the hardware watchdog");
}

void FeedHardwareWatchdog(const Dependencies& deps) {
  if (const absl::Status fed = StartHardwareWatchdog(deps); !fed.ok()) {
    LogWarning(fed.message());
  }
}

absl::Status StopHardwareWatchdog(const Dependencies& deps) {
  const auto note = ReadNote(deps.paths);
  if (absl::IsNotFound(note.status())) return absl::OkStatus();
  LU_RETURN_IF_ERROR(note.status());
  absl::Status stopped = StartOrFeed(*note, deps);
  if (stopped.ok()) stopped = deps.watchdog->Stop();
  if (!stopped.ok()) {
    return Annotate(
        stopped,
        absl::StrCat("the hardware watchdog ", note->identity(),
                     " is not stopped and may reset this host within ",
                     note->timeout_s(),
                     " s; load its driver and run `host-update restore`"));
  }
  return RemoveIfThere(NotePath(deps.paths));
}

}  // namespace live_update
