#include "host_update/cli/commands.h"

#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_code.h"
#include "host_update/early_restore.h"
#include "host_update/enable.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/live_update.h"
#include "host_update/report/report_text.h"
#include "host_update/rescue.h"
#include "host_update/restart_vmm.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "host_update/undo.h"
#include "host_update/unrestored.h"

namespace live_update {
namespace {

// An update that fails each minute shall not fill the disk with its reports.
constexpr size_t kReportsKept = 200;

ExitCode Fail(const absl::Status& status, Output& output) {
  return Fail(status, ExitCodeOf(status), output);
}

// `status` says that there is nothing to do.
ExitCode NothingToDo(const absl::Status& status, Output& output) {
  LogInfo(status.message());
  output.Explain(status);
  return ExitCode::kNothingToDo;
}

bool AnyVmWaits(const Dependencies& deps) {
  const auto unrestored = FindUnrestoredVms({}, deps);
  return !unrestored.ok() || !unrestored->empty();
}

ExitCode ExitCodeOfRestore(const UpdateReport& report) {
  return report.result() == UpdateReport::UPDATED ? ExitCode::kOk
                                                  : ExitCode::kVmNotBack;
}

ExitCode Check(const Options& options, const Dependencies& deps,
               Output& output) {
  const absl::StatusOr<CheckedHost> checked = CheckHost(options.request, deps);
  if (!checked.ok()) return Fail(checked.status(), output);
  output.Put(checked->report, CheckText(checked->report));
  return checked->report.go() ? ExitCode::kOk : ExitCode::kNoGo;
}

ExitCode DryRun(const Options& options, const Dependencies& deps,
                Output& output) {
  const absl::StatusOr<UpdatePlan> plan = PlanUpdate(options.request, deps);
  if (!plan.ok()) return Fail(plan.status(), output);
  output.Put(*plan, CheckAndPlanText(*plan));
  return plan->check().go() ? ExitCode::kOk : ExitCode::kNoGo;
}

// An update, or as much of it as the request has.
ExitCode Update(const UpdateRequest& request, const Dependencies& deps,
                Output& output) {
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status(), output);
  const LiveUpdateResult result = LiveUpdate(request, deps);
  if (result.no_go) {
    if (result.check.go() || result.check.findings_size() == 0) {
      return Fail(result.status, output);
    }
    output.Put(result.check, CheckText(result.check));
    // 3 is what `check` says; of an update, it matters that VMs are unharmed.
    return ExitCode::kFailedUnharmed;
  }
  if (result.report.result() == UpdateReport::PREPARED) {
    output.Put(result.report, ReportText(result.report));
    return ExitCode::kOk;
  }
  if (!result.report.update_id().empty()) {
    if (absl::Status kept = WriteReport(deps.paths.state_dir, result.report);
        !kept.ok()) {
      LogWarning(absl::StrCat("the report is not kept: ", kept.message()));
    }
    ForgetOldFailures(deps.paths.state_dir, kReportsKept);
  }
  output.Put(result.report, ReportText(result.report));
  if (result.report.result() == UpdateReport::FAILED_RESUME) {
    return ExitCode::kVmNotBack;
  }
  return absl::IsCancelled(result.status) ? ExitCode::kAborted
                                          : ExitCode::kFailedUnharmed;
}

ExitCode Arm(const Dependencies& deps, Output& output) {
  const absl::Status armed = ArmRescue(deps);
  if (absl::IsNotFound(armed)) return NothingToDo(armed, output);
  if (!armed.ok()) return Fail(armed, output);
  LogInfo("a crash leads into the rescue kernel from here on");
  return ExitCode::kOk;
}

ExitCode Restore(const Options& options, const ClockSample& first_line,
                 const Dependencies& deps, Output& output) {
  if (options.arm_rescue) return Arm(deps, output);
  if (options.hold_autostart) {
    const absl::StatusOr<bool> held = HoldAutostart(deps);
    if (!held.ok()) return Fail(held.status(), output);
    LogInfo(*held ? "VMs wait to be restored: libvirt's autostart is held"
                  : "no VM waits to be restored: libvirt's autostart goes on");
    return ExitCode::kOk;
  }
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status(), output);
  // Whatever becomes of it, the host goes on.
  const absl::Cleanup end = [&deps] { (void)LetBootGoOn(deps.paths); };
  if (!options.discard_vm.empty()) {
    const absl::Status status = DiscardVm(options.discard_vm, deps);
    return status.ok() ? ExitCode::kOk : Fail(status, output);
  }
  const absl::StatusOr<UpdateReport> report =
      options.retry_vm.empty()
          ? RestoreAll(
                first_line, deps,
                options.restore_again ? Attempt::kAgain : Attempt::kAutomatic)
          : RetryVm(options.retry_vm, deps);
  if (absl::IsNotFound(report.status())) {
    // The ordinary boot starts a restore that failed again: then, too, it must
    // say that a VM is missing.
    return options.retry_vm.empty() && AnyVmWaits(deps)
               ? Fail(report.status(), ExitCode::kVmNotBack, output)
               : NothingToDo(report.status(), output);
  }
  if (!report.ok() && !options.retry_vm.empty()) {
    return Fail(
        absl::Status(report.status().code(),
                     absl::StrCat(options.retry_vm, " is not restored: ",
                                  report.status().message(),
                                  "; its memory and state are kept")),
        ExitCode::kVmNotBack, output);
  }
  if (!report.ok()) return Fail(report.status(), output);
  output.Put(*report, ReportText(*report));
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

ExitCode Abort(const Dependencies& deps, Output& output) {
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status(), output);
  const auto journal = ReadJournal(deps.paths.run_dir);
  if (!journal.ok()) return Fail(journal.status(), output);
  const absl::Status status = UndoInterruptedUpdate(deps);
  if (!status.ok()) {
    return Fail(status, ExitCode::kVmNotBack, output);
  }
  if (!journal->has_value()) {
    return NothingToDo(
        absl::NotFoundError("no update was cut off: nothing to take back"),
        output);
  }
  LogInfo(absl::StrCat("update ", (*journal)->update_id(),
                       " is taken back: VMs run as before, no kernel is "
                       "staged, nothing is preserved"));
  return ExitCode::kOk;
}

ExitCode Status(const Dependencies& deps, Output& output) {
  const absl::StatusOr<HostStatus> status = ReadStatus(deps);
  if (!status.ok()) return Fail(status.status(), output);
  output.Put(*status, StatusText(*status));
  return ExitCode::kOk;
}

ExitCode Report(const Options& options, const Dependencies& deps,
                Output& output) {
  const absl::StatusOr<UpdateReport> report =
      ReadReport(deps.paths.state_dir, options.report_id);
  if (absl::IsNotFound(report.status())) {
    return NothingToDo(report.status(), output);
  }
  if (!report.ok()) return Fail(report.status(), output);
  output.Put(*report, ReportText(*report));
  return ExitCode::kOk;
}

ExitCode ExitCodeOfRestart(const RestartReport& report) {
  switch (report.result()) {
    case RestartReport::RESTARTED:
      return ExitCode::kOk;
    case RestartReport::VM_NOT_BACK:
      return ExitCode::kVmNotBack;
    case RestartReport::STOPPED:
      return ExitCode::kAborted;
    default:
      return report.rehearsal() ? ExitCode::kNoGo : ExitCode::kFailedUnharmed;
  }
}

ExitCode Restart(const Options& options, const Dependencies& deps,
                 Output& output) {
  const absl::StatusOr<RunLock> lock = RunLock::Acquire(deps.paths.run_dir);
  if (!lock.ok()) return Fail(lock.status(), output);
  absl::StatusOr<RestartReport> report =
      RestartVmm(options.request, options.restart_vms, deps);
  if (absl::IsNotFound(report.status())) {
    return NothingToDo(report.status(), output);
  }
  if (!report.ok()) return Fail(report.status(), output);
  report->set_rehearsal(options.rehearsal);
  output.Put(*report, RestartText(*report));
  return ExitCodeOfRestart(*report);
}

ExitCode Enable(const Options& options, const Dependencies& deps,
                Output& output) {
  const absl::StatusOr<EnableReport> report =
      EnableVm({.vm = options.enable_vm,
                .undo = options.undo,
                .dry_run = options.dry_run,
                .backend = options.request.backend},
               deps);
  if (absl::IsNotFound(report.status())) {
    return NothingToDo(report.status(), output);
  }
  if (!report.ok()) return Fail(report.status(), output);
  output.Put(*report, EnableText(*report));
  return ExitCode::kOk;
}

}  // namespace

ExitCode Fail(const absl::Status& status, ExitCode code, Output& output) {
  LogError(status.message());
  output.Explain(status);
  return code;
}

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
    case absl::StatusCode::kFailedPrecondition:
      return CodeOf(status) == "BLACKOUT_BUDGET" ? ExitCode::kOverBudget
                                                 : ExitCode::kFailedUnharmed;
    default:
      return ExitCode::kFailedUnharmed;
  }
}

ExitCode RunCommand(const Options& options, const ClockSample& first_line,
                    const Dependencies& deps, Output& output) {
  switch (options.command) {
    case Command::kCheck:
      return Check(options, deps, output);
    case Command::kUpdate:
      return options.dry_run ? DryRun(options, deps, output)
                             : Update(options.request, deps, output);
    case Command::kPrepare: {
      UpdateRequest request = options.request;
      request.prepare_only = true;
      return Update(request, deps, output);
    }
    case Command::kRestore:
      return Restore(options, first_line, deps, output);
    case Command::kStatus:
      return Status(deps, output);
    case Command::kAbort:
      return Abort(deps, output);
    case Command::kReport:
      return Report(options, deps, output);
    case Command::kEnable:
      return Enable(options, deps, output);
    case Command::kRestartVmm:
      return Restart(options, deps, output);
    case Command::kLibvirtHook:  // RunLibvirtHook, which needs none of this.
    case Command::kWorker:       // It does one of the others.
      break;
  }
  return ExitCode::kUsage;
}

}  // namespace live_update
