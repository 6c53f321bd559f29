#include "host_update/live_update.h"

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/bounded_sync.h"
#include "host_update/guests.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/hooks.h"
#include "host_update/identity.h"
#include "host_update/journal.h"
#include "host_update/parallel.h"
#include "host_update/phase_recorder.h"
#include "host_update/plan.h"
#include "host_update/prepare.h"
#include "host_update/save.h"
#include "host_update/set_aside.h"
#include "host_update/underway.h"
#include "host_update/undo.h"
#include "loader/kernel_facts.h"

namespace live_update {
namespace {

// Runs `step` for all VMs at once and returns the first VM's error, after all
// have come back.
template <typename Step>
absl::Status ForEachVm(std::vector<PreparedVm>& vms, const Dependencies& deps,
                       absl::string_view what, Step step) {
  std::mutex mutex;
  absl::Status first;
  ForEachInParallel(vms.size(), deps.parallelism, [&](size_t i) {
    const absl::Status status = step(vms[i]);
    if (status.ok()) return;
    std::lock_guard lock(mutex);
    first.Update(
        Annotate(status, absl::StrCat(what, " ", vms[i].info.ref.name)));
  });
  return first;
}

// After it no VM of `update` runs, and none has been started meanwhile.
absl::Status PauseAll(PreparedUpdate& update, const Dependencies& deps) {
  LU_RETURN_IF_ERROR(
      ForEachVm(update.vms, deps, "pause",
                [&deps](PreparedVm& vm) { return PauseVm(vm, deps); }));
  return RefuseNewcomers(update, deps);
}

// The blackout's first half: from running VMs to a jump. Returns on failure
// only (or, with a fake, when the jump "worked").
absl::Status HandOver(PreparedUpdate& update, Journal& journal,
                      PhaseRecorder& phases, const Dependencies& deps) {
  LU_RETURN_IF_ERROR(phases.Enter(Phase::kPause));
  LU_RETURN_IF_ERROR(PauseAll(update, deps));

  BoundedSync sync(deps.sync);
  LU_RETURN_IF_ERROR(phases.Enter(Phase::kSave));
  LU_RETURN_IF_ERROR(ForEachVm(update.vms, deps, "save", [&](PreparedVm& vm) {
    return SaveVm(update, vm, deps);
  }));

  LU_RETURN_IF_ERROR(phases.Enter(Phase::kCommit));
  LU_RETURN_IF_ERROR(sync.Wait(deps.limits.sync));
  LU_RETURN_IF_ERROR(
      Commit(update, phases.started(), phases.spans(), journal, deps));

  LU_RETURN_IF_ERROR(phases.Enter(Phase::kJump));
  LU_RETURN_IF_ERROR(StartHardwareWatchdog(deps));
  return Annotate(deps.kexec->Jump(), "jump into the staged kernel");
}

HookContext ContextOf(const UpdateRequest& request, const CheckedHost& checked,
                      const Journal& journal, const Dependencies& deps) {
  return {.update_id = journal.update_id(),
          .kernel = journal.kernel(),
          .predicted_blackout_s =
              MakePlan(request, checked, deps).predicted_blackout_s()};
}

// Guests and host learn that the pause comes next; the journal, which guests
// were told; the disk, whose VMs are at stake.
absl::Status TellOfPause(PreparedUpdate& update, const HookContext& hooks,
                         Journal& journal, const Dependencies& deps) {
  for (const PreparedVm& vm : update.vms) {
    Journal::Vm& entry = *journal.add_vms();
    entry.set_name(vm.info.ref.name);
    entry.set_uuid(vm.info.ref.uuid);
    entry.set_was_running(vm.info.state == VmState::kRunning);
  }
  NotifyGuests(update.vms, journal, deps);
  LU_RETURN_IF_ERROR(WriteJournal(deps.paths.run_dir, journal));
  LU_RETURN_IF_ERROR(NoteUnderway(journal, update.host, deps.paths.state_dir));
  return RunHooks(HookKind::kPrePause, hooks, deps);
}

// As `uname -rv` will print it; "" if that can't be told of the target.
std::string NextKernel(const CheckedHost& checked) {
  return checked.target.facts.ok()
             ? loader::UnameOf(checked.target.facts->banner)
             : "";
}

// Everything an update does after the go. On failure nothing is undone yet,
// nor if it was to be prepared only.
absl::Status Run(const UpdateRequest& request, CheckedHost& checked,
                 Journal& journal, PhaseRecorder& phases,
                 const Dependencies& deps) {
  LU_RETURN_IF_ERROR(phases.Enter(Phase::kPrepare));
  if (request.prepare_only) {
    return Prepare(request, checked, journal.update_id(), deps).status();
  }
  const HookContext hooks = ContextOf(request, checked, journal, deps);
  journal.set_hooks_begun(true);
  LU_RETURN_IF_ERROR(WriteJournal(deps.paths.run_dir, journal));
  LU_RETURN_IF_ERROR(RunHooks(HookKind::kNotify, hooks, deps));
  LU_ASSIGN_OR_RETURN(PreparedUpdate update,
                      Prepare(request, checked, journal.update_id(), deps));
  LU_RETURN_IF_ERROR(SetVmsAside(checked.ways, journal, deps));
  if (const std::string kernel = NextKernel(checked); !kernel.empty()) {
    deps.expect_kernel(kernel);
  }
  LU_RETURN_IF_ERROR(TellOfPause(update, hooks, journal, deps));
  return HandOver(update, journal, phases, deps);
}

void FillReport(const Journal& journal, const CheckedHost& checked,
                Phase failed_in, const absl::Status& status,
                const UndoResult& undone, UpdateReport& report) {
  report.set_update_id(journal.update_id());
  report.set_started_at(journal.started_at());
  report.set_kernel_before(checked.host.kernel_release);
  report.set_kernel_after(checked.host.kernel_release);
  report.set_boot_id_before(checked.host.boot_id);
  report.set_boot_id_after(checked.host.boot_id);
  for (const Finding& finding : checked.report.findings()) {
    if (finding.overridden()) *report.add_findings() = finding;
  }
  for (const Finding& finding : undone.findings) {
    *report.add_findings() = finding;
  }
  std::vector<std::string> reasons;
  if (!status.ok()) {
    report.set_failed_phase(std::string(PhaseName(failed_in)));
    reasons.emplace_back(status.message());
  }
  for (const auto* lines : {&undone.started, &undone.gone, &undone.not_resumed,
                            &undone.left_over}) {
    reasons.insert(reasons.end(), lines->begin(), lines->end());
  }
  report.set_reason(absl::StrJoin(reasons, "; "));
  report.set_result(status.ok() && undone.clean() ? UpdateReport::PREPARED
                                                  : ResultOf(undone));
}

}  // namespace

LiveUpdateResult LiveUpdate(const UpdateRequest& request,
                            const Dependencies& deps) {
  LiveUpdateResult result;
  if (result.status = UndoInterruptedUpdate(deps); !result.status.ok()) {
    result.report.set_result(UpdateReport::FAILED_RESUME);
    result.report.set_reason(std::string(result.status.message()));
    return result;
  }
  absl::StatusOr<CheckedHost> checked = CheckHost(request, deps);
  if (!checked.ok()) {
    result.status = checked.status();
    result.no_go = true;
    return result;
  }
  result.check = checked->report;
  if (!checked->report.go()) {
    result.no_go = true;
    result.status = absl::FailedPreconditionError("the check says no-go");
    return result;
  }
  if (result.status = CheckAgreed(request, *checked, deps);
      !result.status.ok()) {
    result.no_go = true;
    return result;
  }
  for (const Finding& finding : result.check.findings()) {
    if (!finding.overridden()) continue;
    LogWarning(absl::StrCat(finding.code(), " ", finding.subject(), ": ",
                            finding.message()));
  }

  Journal journal;
  journal.set_update_id(request.update_id.empty() ? NewUpdateId()
                                                  : request.update_id);
  journal.set_started_at(
      absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone()));
  journal.set_kernel(request.kernel_path);
  PhaseRecorder phases(deps, journal);
  const absl::Time start = absl::Now();
  result.status = Run(request, *checked, journal, phases, deps);
  if (result.status.ok() && !request.prepare_only) {
    return result;  // Jumped: into a fake.
  }
  if (!result.status.ok()) {
    LogError(absl::StrCat(PhaseName(phases.current()), " failed: ",
                          result.status.message(), "; taking the update back"));
  } else {
    PhaseSpan& span = *result.report.add_phases();
    span.set_phase(std::string(PhaseName(Phase::kPrepare)));
    span.set_duration_s(absl::ToDoubleSeconds(absl::Now() - start));
  }
  const UndoResult undone = UndoUpdate(journal, deps);
  FillReport(journal, *checked, phases.current(), result.status, undone,
             result.report);
  return result;
}

}  // namespace live_update
