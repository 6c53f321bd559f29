#include "host_update/cli/commands.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/live_update.h"
#include "host_update/report/report_json.h"
#include "host_update/report/report_text.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "host_update/undo.h"

namespace live_update {
namespace {

template <typename Message>
void Print(const Options& options, const Message& message,
           std::string (*text)(const Message&)) {
  std::string output;
  if (options.json) {
    absl::StatusOr<std::string> json = ToJson(message);
    output = json.ok() ? *json : absl::StrCat(json.status().message(), "\n");
  } else {
    output = text(message);
  }
  std::fputs(output.c_str(), stdout);
  std::fflush(stdout);
}

ExitCode Fail(const absl::Status& status) {
  LogError(status.message());
  return ExitCodeOf(status);
}

ExitCode ExitCodeOfRestore(const UpdateReport& report) {
  return report.result() == UpdateReport::UPDATED ? ExitCode::kOk
                                                  : ExitCode::kVmNotBack;
}

ExitCode Check(const Options& options, const Dependencies& deps) {
  const absl::StatusOr<CheckedHost> checked = CheckHost(options.request, deps);
  if (!checked.ok()) return Fail(checked.status());
  Print(options, checked->report, &CheckText);
  return checked->report.go() ? ExitCode::kOk : ExitCode::kNoGo;
}

ExitCode DryRun(const Options& options, const Dependencies& deps) {
  const absl::StatusOr<UpdatePlan> plan = PlanUpdate(options.request, deps);
  if (!plan.ok()) return Fail(plan.status());
  if (!options.json) std::fputs(CheckText(plan->check()).c_str(), stdout);
  Print(options, *plan, &PlanText);
  return plan->check().go() ? ExitCode::kOk : ExitCode::kNoGo;
}

ExitCode Update(const Options& options, const Dependencies& deps) {
  if (options.dry_run) return DryRun(options, deps);
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status());
  const LiveUpdateResult result = LiveUpdate(options.request, deps);
  if (result.no_go) {
    if (result.check.findings_size() == 0) return Fail(result.status);
    Print(options, result.check, &CheckText);
    // 3 is what `check` says; of an update, it matters that VMs are unharmed.
    return ExitCode::kFailedUnharmed;
  }
  if (!result.report.update_id().empty()) {
    if (absl::Status kept = WriteReport(deps.paths.state_dir, result.report);
        !kept.ok()) {
      LogWarning(absl::StrCat("the report is not kept: ", kept.message()));
    }
  }
  Print(options, result.report, &ReportText);
  if (result.report.result() == UpdateReport::FAILED_RESUME) {
    return ExitCode::kVmNotBack;
  }
  return absl::IsCancelled(result.status) ? ExitCode::kAborted
                                          : ExitCode::kFailedUnharmed;
}

ExitCode Restore(const Options& options, const ClockSample& first_line,
                 const Dependencies& deps) {
  if (options.hold_autostart) {
    const absl::StatusOr<bool> held = HoldAutostart(deps);
    if (!held.ok()) return Fail(held.status());
    LogInfo(*held ? "VMs wait to be restored: libvirt's autostart is held"
                  : "no VM waits to be restored: libvirt's autostart goes on");
    return ExitCode::kOk;
  }
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status());
  if (!options.discard_vm.empty()) {
    const absl::Status status = DiscardVm(options.discard_vm, deps);
    return status.ok() ? ExitCode::kOk : Fail(status);
  }
  const absl::StatusOr<UpdateReport> report =
      options.retry_vm.empty() ? RestoreAll(first_line, deps)
                               : RetryVm(options.retry_vm, deps);
  if (absl::IsNotFound(report.status())) {
    LogInfo(report.status().message());
    return ExitCode::kNothingToDo;
  }
  if (!report.ok() && !options.retry_vm.empty()) {
    LogError(absl::StrCat(options.retry_vm,
                          " is not restored: ", report.status().message(),
                          "; its memory and state are kept"));
    return ExitCode::kVmNotBack;
  }
  if (!report.ok()) return Fail(report.status());
  Print(options, *report, &ReportText);
  if (options.retry_vm.empty()) return ExitCodeOfRestore(*report);
  // Of a retry, this one VM counts, not what else the update left.
  for (const VmReport& vm : report->vms()) {
    if (vm.name() == options.retry_vm || vm.uuid() == options.retry_vm) {
      return vm.result() == VmReport::RESTORED ? ExitCode::kOk
                                               : ExitCode::kVmNotBack;
    }
  }
  return ExitCode::kVmNotBack;
}

ExitCode Abort(const Dependencies& deps) {
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status());
  const auto journal = ReadJournal(deps.paths.run_dir);
  if (!journal.ok()) return Fail(journal.status());
  const absl::Status status = UndoInterruptedUpdate(deps);
  if (!status.ok()) {
    LogError(status.message());
    return ExitCode::kVmNotBack;
  }
  if (!journal->has_value()) {
    LogInfo("no update was cut off: nothing to take back");
    return ExitCode::kNothingToDo;
  }
  LogInfo(absl::StrCat("update ", (*journal)->update_id(),
                       " is taken back: VMs run as before, no kernel is "
                       "staged, nothing is preserved"));
  return ExitCode::kOk;
}

ExitCode Status(const Options& options, const Dependencies& deps) {
  const absl::StatusOr<HostStatus> status = ReadStatus(deps);
  if (!status.ok()) return Fail(status.status());
  Print(options, *status, &StatusText);
  return ExitCode::kOk;
}

ExitCode Report(const Options& options, const Dependencies& deps) {
  const absl::StatusOr<UpdateReport> report =
      ReadReport(deps.paths.state_dir, options.report_id);
  if (absl::IsNotFound(report.status())) {
    LogInfo(report.status().message());
    return ExitCode::kNothingToDo;
  }
  if (!report.ok()) return Fail(report.status());
  Print(options, *report, &ReportText);
  return ExitCode::kOk;
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kNoPermission;
    case absl::StatusCode::kCancelled:
      return ExitCode::kAborted;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kBusy;
    default:
      return ExitCode::kFailedUnharmed;
  }
}

ExitCode RunCommand(const Options& options, const ClockSample& first_line,
                    const Dependencies& deps) {
  switch (options.command) {
    case Command::kCheck:
      return Check(options, deps);
    case Command::kUpdate:
      return Update(options, deps);
    case Command::kRestore:
      return Restore(options, first_line, deps);
    case Command::kStatus:
      return Status(options, deps);
    case Command::kAbort:
      return Abort(deps);
    case Command::kReport:
      return Report(options, deps);
    case Command::kLibvirtHook:
      break;  // RunLibvirtHook, which needs none of all this.
  }
  return ExitCode::kUsage;
}

}  // namespace live_update
