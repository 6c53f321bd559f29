#include "host_update/service/operation_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/cli/exit_code.h"
#include "host_update/identity.h"

namespace live_update {
namespace {

// A worker bounds each of its own waits; this is for one that hangs altogether.
constexpr absl::Duration kLongestPhase = absl::Minutes(30);
constexpr absl::Duration kUndoTimeout = absl::Minutes(3);
constexpr absl::Duration kReportTimeout = absl::Seconds(60);

std::string ErrorsOf(const CheckReport& check) {
  std::vector<std::string> errors;
  for (const Finding& finding : check.findings()) {
    if (finding.severity() != Finding::ERROR) continue;
    errors.push_back(absl::StrCat(finding.code(), " ", finding.subject(), ": ",
                                  finding.message(), " (", finding.remedy(),
                                  ")"));
  }
  return absl::StrCat("the check says no-go: ", absl::StrJoin(errors, "; "));
}

std::string VmsNotBack(const UpdateReport& report) {
  std::vector<std::string> vms;
  for (const VmReport& vm : report.vms()) {
    if (vm.result() == VmReport::RESTORED) continue;
    vms.push_back(
        absl::StrCat(vm.name(), ": ", vm.reason(), "; next: ", vm.next_step()));
  }
  return absl::StrJoin(vms, "; ");
}

Ending EndingOf(const UpdateReport& report, ExitCode exit_code) {
  Ending ending;
  ending.exit_code = static_cast<int>(exit_code);
  ending.report = report;
  if (report.result() == UpdateReport::UPDATED ||
      report.result() == UpdateReport::PREPARED) {
    ending.state = v1::Operation::SUCCEEDED;
    return ending;
  }
  ending.error = report.reason();
  const std::string missing = VmsNotBack(report);
  if (!missing.empty()) {
    ending.error =
        absl::StrCat(ending.error, ending.error.empty() ? "" : "; ", missing);
  }
  return ending;
}

Ending EndingOf(const RestartReport& report, ExitCode exit_code) {
  Ending ending;
  ending.exit_code = static_cast<int>(exit_code);
  ending.restart = report;
  std::vector<std::string> reasons;
  if (!report.reason().empty()) reasons.push_back(report.reason());
  for (const RestartedVm& vm : report.vms()) {
    if (vm.result() == RestartedVm::RESTARTED) continue;
    std::string next;
    if (!vm.vm().next_step().empty()) {
      next = absl::StrCat("; next: ", vm.vm().next_step());
    }
    reasons.push_back(absl::StrCat(vm.vm().name(), ": ", vm.reason(), next));
  }
  ending.error = absl::StrJoin(reasons, "; ");
  return ending;
}

Ending EndingOf(const WorkerReply::Result& result, bool was_aborted) {
  const auto code = static_cast<ExitCode>(result.exit_code());
  Ending ending;
  if (result.has_report()) {
    ending = EndingOf(result.report(), code);
  } else if (result.has_restart()) {
    ending = EndingOf(result.restart(), code);
  } else {
    ending.exit_code = result.exit_code();
    ending.error =
        result.has_check() ? ErrorsOf(result.check()) : result.error();
  }
  if (code == ExitCode::kOk || code == ExitCode::kNothingToDo) {
    ending.state = v1::Operation::SUCCEEDED;
  }
  if (code == ExitCode::kAborted && was_aborted) {
    ending.state = v1::Operation::ABORTED;
  }
  return ending;
}

ExitCode ExitCodeOfReport(const UpdateReport& report) {
  switch (report.result()) {
    case UpdateReport::UPDATED:
      return ExitCode::kOk;
    case UpdateReport::FAILED_UNHARMED:
      return ExitCode::kFailedUnharmed;
    default:
      return ExitCode::kVmNotBack;
  }
}

}  // namespace

OperationRunner::~OperationRunner() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [id, call] : calls_) call->Stop();
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

absl::StatusOr<v1::Operation> OperationRunner::Start(v1::Operation operation,
                                                     WorkerRequest request) {
  bool is_new = false;
  LU_ASSIGN_OR_RETURN(v1::Operation begun,
                      store_.Begin(std::move(operation), is_new));
  if (!is_new) return begun;
  if (request.has_update()) {
    request.mutable_update()->set_update_id(begun.id());
  }
  if (request.has_restart_vmm()) {
    request.mutable_restart_vmm()->set_restart_id(begun.id());
  }
  absl::StatusOr<std::unique_ptr<WorkerCall>> call = workers_.Begin(request);
  if (!call.ok()) {
    store_.End(begun.id(), {.error = std::string(call.status().message())});
    return call.status();
  }
  absl::MutexLock lock(&mutex_);
  WorkerCall& running = *(calls_[begun.id()] = *std::move(call));
  threads_.emplace_back(
      [this, id = begun.id(), &running] { Run(id, running); });
  return begun;
}

void OperationRunner::Run(const std::string& id, WorkerCall& call) {
  const absl::StatusOr<WorkerReply::Result> result =
      call.Wait([&](const std::string& phase) { store_.EnterPhase(id, phase); },
                kLongestPhase);
  if (result.ok()) {
    store_.End(id, EndingOf(*result, WasAborted(id)));
  } else {
    LogError(absl::StrCat("operation ", id, ": ", result.status().message()));
    call.Stop();
    const std::optional<v1::Operation> operation = store_.Get(id);
    if (operation.has_value()) store_.End(id, SettleInThisBoot(*operation));
  }
  absl::MutexLock lock(&mutex_);
  aborted_.erase(id);
  calls_.erase(id);
}

bool OperationRunner::WasAborted(const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  return aborted_.count(id) > 0;
}

absl::Status OperationRunner::Abort(const std::string& id) {
  const std::optional<v1::Operation> operation = store_.Get(id);
  if (!operation.has_value()) {
    return absl::NotFoundError(absl::StrCat("no operation ", id));
  }
  absl::MutexLock lock(&mutex_);
  const auto call = calls_.find(id);
  if (call == calls_.end() || !operation->abortable()) {
    return absl::FailedPreconditionError(
        absl::StrCat("operation ", id, " can't be aborted: it is in phase ",
                     operation->phase(), ", ",
                     v1::Operation::State_Name(operation->state())));
  }
  aborted_.insert(id);
  call->second->Stop();
  return absl::OkStatus();
}

void OperationRunner::SettleInterrupted() {
  const std::string boot_id = ThisBootId();
  for (const v1::Operation& operation : store_.Running()) {
    LogWarning(absl::StrCat("operation ", operation.id(),
                            " was under way in phase ", operation.phase(),
                            " when the last hostupdated ended"));
    store_.End(operation.id(), operation.boot_id() == boot_id
                                   ? SettleInThisBoot(operation)
                                   : SettleOfEarlierBoot(operation));
  }
}

// Its worker is gone, or goes now that its connection is.
Ending OperationRunner::SettleInThisBoot(const v1::Operation& operation) {
  WorkerRequest undo;
  undo.mutable_undo();
  const absl::Time deadline = absl::Now() + kUndoTimeout;
  absl::StatusOr<WorkerReply::Result> undone =
      CallWorker(workers_, undo, kUndoTimeout);
  while (undone.ok() &&
         undone->exit_code() == static_cast<int>(ExitCode::kBusy) &&
         absl::Now() < deadline) {
    absl::SleepFor(absl::Seconds(1));
    undone = CallWorker(workers_, undo, kUndoTimeout);
  }
  Ending ending;
  if (!undone.ok() ||
      undone->exit_code() > static_cast<int>(ExitCode::kNothingToDo)) {
    ending.exit_code = static_cast<int>(ExitCode::kVmNotBack);
    ending.error = absl::StrCat(
        "interrupted in phase ", operation.phase(), ", and not taken back: ",
        undone.ok() ? undone->error() : undone.status().message(),
        "; give `host-update abort` as root");
    return ending;
  }
  ending.error = absl::StrCat(
      "interrupted in phase ", operation.phase(),
      operation.kind() == v1::Operation::RESTART_VMM
          ? "; the VM under way was taken back, or taken on into its new QEMU"
          : ", and taken back: VMs run as before");
  return ending;
}

Ending OperationRunner::SettleOfEarlierBoot(const v1::Operation& operation) {
  if (operation.kind() != v1::Operation::UPDATE) {
    return {.error =
                "interrupted by a boot; `hostupdatectl status` says which "
                "VMs wait"};
  }
  WorkerRequest request;
  request.mutable_report()->set_update_id(operation.id());
  const absl::StatusOr<WorkerReply::Result> result =
      CallWorker(workers_, request, kReportTimeout);
  if (result.ok() && result->has_report()) {
    for (const PhaseSpan& span : result->report().phases()) {
      if (span.phase() == "restore" || span.phase() == "resume") {
        store_.EnterPhase(operation.id(), span.phase());
      }
    }
    return EndingOf(result->report(), ExitCodeOfReport(result->report()));
  }
  Ending ending;
  ending.exit_code = static_cast<int>(ExitCode::kVmNotBack);
  ending.error = absl::StrCat(
      "the host has booted since, and no handover of this update was restored "
      "(",
      result.ok() ? result->error() : result.status().message(),
      "); look at `journalctl -u host-update-restore` and `hostupdatectl "
      "status`");
  return ending;
}

}  // namespace live_update
