#include "host_update/restart_vmm.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/backend.h"
#include "host_update/guests.h"
#include "host_update/identity.h"
#include "host_update/journal.h"
#include "host_update/phase_recorder.h"
#include "host_update/prepare.h"
#include "host_update/restore.h"
#include "host_update/restore_vm.h"
#include "host_update/save.h"
#include "host_update/undo.h"
#include "state_preserve/handover_reader.h"

namespace live_update {
namespace {

constexpr double kNanosPerSecond = 1e9;

double SecondsBetween(const ClockSample& from, const ClockSample& to) {
  return static_cast<double>(to.boottime_ns() - from.boottime_ns()) /
         kNanosPerSecond;
}

// Whether a restore that failed so may do better at once. After some it is an
// operator's to judge: the guest may have run, or its memory has changed.
bool MayBeTriedAgain(const absl::Status& restored) {
  return !restored.ok() && !absl::IsAborted(restored) &&
         !absl::IsDataLoss(restored) && !absl::IsDeadlineExceeded(restored);
}

std::string NowText() {
  return absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone());
}

// The VMs to be restarted, in the order they were asked for.
absl::StatusOr<std::vector<VmInfo>> Choose(
    const std::vector<std::string>& names, const std::vector<VmInfo>& all) {
  std::vector<VmInfo> chosen;
  if (names.empty()) {
    absl::c_copy_if(all, std::back_inserter(chosen),
                    [](const VmInfo& vm) { return vm.state != VmState::kOff; });
    if (!chosen.empty()) return chosen;
    return absl::NotFoundError("no VM runs: there is no QEMU to replace");
  }
  for (const std::string& name : names) {
    const auto is_it = [&name](const VmInfo& vm) {
      return vm.ref.IsCalled(name);
    };
    const auto found = absl::c_find_if(all, is_it);
    if (found == all.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "there is no VM \"", name, "\"; `virsh list` has their names"));
    }
    if (found->state == VmState::kOff) {
      return absl::InvalidArgumentError(absl::StrCat(
          name,
          " is off: it has no QEMU, and will start in the installed one"));
    }
    if (absl::c_any_of(chosen, is_it)) {
      return absl::InvalidArgumentError(
          absl::StrCat("VM ", name, " is named twice"));
    }
    chosen.push_back(*found);
  }
  return chosen;
}

// One VM on its way from one QEMU to the next.
class Restart {
 public:
  Restart(const UpdateRequest& request, const HostFacts& host,
          const Dependencies& deps, RestartedVm& report)
      : request_(request),
        deps_(deps),
        report_(report),
        update_{.update_id = NewUpdateId(), .host = host, .qemu_restart = true},
        phases_(deps, journal_) {
    journal_.set_update_id(update_.update_id);
    journal_.set_started_at(NowText());
    report_.set_handover_id(update_.update_id);
  }

  // False: no other VM should have its turn. Takes the RAM's descriptors out of
  // `facts`.
  bool Run(VmFacts& facts) {
    absl::Status status = Save(facts);
    if (status.ok()) status = TakeOver();
    if (!status.ok()) return TurnBack(status);
    // From here on the way is forward.
    if (absl::Status ended = EndOldQemu(); !ended.ok()) {
      // Only this says that nothing was asked of it.
      if (absl::IsFailedPrecondition(ended)) return TurnBack(ended);
      // The journal stays: who goes on must know of the old QEMU.
      return Lost(ended,
                  "`host-update abort`, which ends it and restores the "
                  "VM; its memory and state are kept");
    }
    return Restore();
  }

  bool asked_to_stop() const { return asked_to_stop_; }

 private:
  VmRef Ref() const {
    return {.name = report_.vm().name(), .uuid = report_.vm().uuid()};
  }

  // From a running VM to a paused one whose state lies in preserved memory.
  absl::Status Save(VmFacts& facts) {
    LU_ASSIGN_OR_RETURN(process_, deps_.hypervisor->FindProcess(
                                      Ref(), absl::Now() + deps_.limits.call));
    report_.set_pid_before(process_.pid);
    journal_.mutable_restart()->set_pid(process_.pid);
    journal_.mutable_restart()->set_started(process_.started);
    LU_RETURN_IF_ERROR(phases_.Enter(Phase::kPrepare));
    LU_RETURN_IF_ERROR(
        BeginHandover(update_, 1, request_.state_bytes_per_vm, deps_));
    LU_ASSIGN_OR_RETURN(PreparedVm vm,
                        PrepareVm(facts, *update_.outgoing, deps_));
    report_.set_qemu_before(vm.description.qemu_version);

    Journal::Vm& entry = *journal_.add_vms();
    entry.set_name(vm.info.ref.name);
    entry.set_uuid(vm.info.ref.uuid);
    entry.set_was_running(vm.info.state == VmState::kRunning);
    LU_RETURN_IF_ERROR(phases_.Enter(Phase::kPause));
    LU_RETURN_IF_ERROR(Annotate(PauseVm(vm, deps_), "pause"));
    paused_ = deps_.clock->Sample();
    LU_RETURN_IF_ERROR(phases_.Enter(Phase::kSave));
    LU_RETURN_IF_ERROR(Annotate(SaveVm(update_, vm, deps_), "save"));
    LU_RETURN_IF_ERROR(phases_.Enter(Phase::kCommit));
    return Commit(update_, phases_.started(), phases_.spans(), journal_, deps_);
  }

  // Makes what was saved a set that any later process can restore from, and
  // reads it back before the only other copy goes.
  absl::Status TakeOver() {
    journal_.mutable_restart()->set_ending(true);
    LU_RETURN_IF_ERROR(WriteJournal(deps_.paths.run_dir, journal_));
    LU_ASSIGN_OR_RETURN(incoming_,
                        deps_.memory->RetrieveInThisBoot(update_.update_id));
    LU_ASSIGN_OR_RETURN(
        HandoverReader reader,
        HandoverReader::Open(incoming_->image(), deps_.handover.key.get()));
    if (reader.vms().size() != 1) {
      return absl::InternalError("the handover does not have the one VM");
    }
    reader_ = std::make_unique<HandoverReader>(std::move(reader));
    LU_ASSIGN_OR_RETURN(vm_, reader_->ReadVm(0));
    return absl::OkStatus();
  }

  absl::Status EndOldQemu() {
    const ClockSample start = deps_.clock->Sample();
    const absl::Status ended = deps_.hypervisor->EndProcess(
        Ref(), process_, absl::Now() + deps_.limits.save);
    report_.set_end_s(SecondsBetween(start, deps_.clock->Sample()));
    return ended;
  }

  bool TurnBack(const absl::Status& why) {
    asked_to_stop_ = absl::IsCancelled(why);
    const std::string phase(PhaseName(phases_.current()));
    LogError(absl::StrCat(Ref().name, ": ", phase, " failed: ", why.message(),
                          "; it goes on in its old QEMU"));
    if (journal_.restart().ending()) {
      journal_.mutable_restart()->set_ending(false);
      if (absl::Status written = WriteJournal(deps_.paths.run_dir, journal_);
          !written.ok()) {
        LogError(written.message());
      }
    }
    const UndoResult undone = UndoUpdate(journal_, deps_);
    std::vector<std::string> reasons = {std::string(why.message())};
    for (const auto* lines :
         {&undone.gone, &undone.not_resumed, &undone.left_over}) {
      reasons.insert(reasons.end(), lines->begin(), lines->end());
    }
    report_.set_reason(absl::StrJoin(reasons, "; "));
    const bool runs = undone.gone.empty() && undone.not_resumed.empty();
    report_.set_result(runs ? RestartedVm::UNHARMED : RestartedVm::NOT_BACK);
    if (!runs) {
      report_.mutable_vm()->set_next_step(
          undone.gone.empty() ? "`host-update abort`"
                              : absl::StrCat("`virsh start ", Ref().name, "`"));
    }
    return runs && undone.clean() && !asked_to_stop_;
  }

  bool Lost(const absl::Status& why, absl::string_view next_step) {
    LogError(absl::StrCat(Ref().name, " is not back: ", why.message()));
    report_.set_result(RestartedVm::NOT_BACK);
    report_.set_reason(std::string(why.message()));
    report_.mutable_vm()->set_result(VmReport::NOT_RESTORED);
    report_.mutable_vm()->set_next_step(std::string(next_step));
    return false;
  }

  // The VM does not run now: a request to stop has to wait.
  void EnterAnyway(Phase phase) {
    if (const absl::Status entered = phases_.Enter(phase); !entered.ok()) {
      LogWarning(absl::StrCat(entered.message(), "; ", Ref().name,
                              " is restored first"));
      asked_to_stop_ = true;
    }
  }

  bool Restore() {
    EnterAnyway(Phase::kRestore);
    const ClockSample start = deps_.clock->Sample();
    const VmReport named = report_.vm();
    VmReport& vm = *report_.mutable_vm();
    absl::Status status = RestoreVm(vm_, *incoming_, deps_, vm);
    if (MayBeTriedAgain(status)) {
      vm = named;
      status = RestoreVm(vm_, *incoming_, deps_, vm);
    }
    const ClockSample restored = deps_.clock->Sample();
    vm.set_restore_s(SecondsBetween(start, restored));
    if (status.ok()) {
      vm.set_blackout_s(SecondsBetween(paused_, restored));
      LogInfo(
          absl::StrCat(vm.name(), " runs again after ", vm.blackout_s(), " s"));
      Settle(vm);
    }
    CorrectNextStep(*incoming_, vm);
    for (const absl::Status& tidied : {incoming_->FinishIfEmpty().status(),
                                       RemoveJournal(deps_.paths.run_dir)}) {
      if (!tidied.ok()) LogError(tidied.message());
    }
    if (!status.ok()) return Lost(status, std::string(vm.next_step()));
    report_.set_result(RestartedVm::RESTARTED);
    return !asked_to_stop_;
  }

  // Of a VM that runs in its new QEMU.
  void Settle(VmReport& vm) {
    EnterAnyway(Phase::kResume);
    const ClockSample start = deps_.clock->Sample();
    const absl::Time deadline = absl::Now() + deps_.limits.call;
    if (absl::Status status = deps_.hypervisor->Announce(Ref(), deadline);
        !status.ok()) {
      LogWarning(
          absl::StrCat(vm.name(), ": announce NICs: ", status.message()));
    }
    vm.set_resume_s(SecondsBetween(start, deps_.clock->Sample()));
    vm.MergeFrom(WakeGuest(vm_.record, vm.blackout_s(), deps_));
    SettleVm(vm_, *incoming_, deps_, vm);
    if (auto now = deps_.hypervisor->FindProcess(Ref(), deadline); now.ok()) {
      report_.set_pid_after(now->pid);
    }
    if (auto now = deps_.hypervisor->Describe(Ref(), deadline); now.ok()) {
      report_.set_qemu_after(now->qemu_version);
    }
  }

  const UpdateRequest& request_;
  const Dependencies& deps_;
  RestartedVm& report_;
  Journal journal_;
  PreparedUpdate update_;
  PhaseRecorder phases_;
  VmProcess process_;
  ClockSample paused_;
  std::unique_ptr<IncomingPreservation> incoming_;
  std::unique_ptr<HandoverReader> reader_;  // What vm_ points into.
  IncomingVm vm_;
  bool asked_to_stop_ = false;
};

// Whether the check has nothing against it. `report` gets what it found.
bool CheckVm(const UpdateRequest& request, Backend backend,
             const HostFacts& host,
             const absl::StatusOr<HypervisorVersions>& versions,
             const ExaminedVm& vm, const Dependencies& deps,
             RestartedVm& report) {
  const CheckReport check = deps.evaluate(
      {.host = host,
       .versions = versions,
       .vms = absl::MakeConstSpan(&vm, 1),
       .state_area_bytes = StateAreaBytesFor(1, request.state_bytes_per_vm),
       .backend = backend,
       .overrides = request.overrides});
  std::vector<std::string> errors;
  if (!vm.facts.ok()) errors.emplace_back(vm.facts.status().message());
  for (const Finding& finding : check.findings()) {
    if (finding.subject() != vm.info.ref.name ||
        finding.severity() == Finding::OK) {
      continue;
    }
    *report.add_findings() = finding;
    if (finding.severity() == Finding::ERROR) {
      errors.push_back(absl::StrCat(finding.code(), ": ", finding.message()));
    }
  }
  if (errors.empty()) return true;
  report.set_result(RestartedVm::REFUSED);
  report.set_reason(absl::StrJoin(errors, "; "));
  return false;
}

void Conclude(bool stopped, RestartReport& report) {
  report.set_result(RestartReport::RESTARTED);
  for (const RestartedVm& vm : report.vms()) {
    if (vm.result() == RestartedVm::NOT_BACK) {
      report.set_result(RestartReport::VM_NOT_BACK);
      return;
    }
    if (vm.result() != RestartedVm::RESTARTED) {
      report.set_result(stopped ? RestartReport::STOPPED
                                : RestartReport::UNHARMED);
    }
  }
}

}  // namespace

absl::StatusOr<RestartReport> RestartVmm(const UpdateRequest& request,
                                         const std::vector<std::string>& vms,
                                         const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const Backend backend, ParseBackend(request.backend));
  if (backend == Backend::kLuo) {
    return absl::UnimplementedError(
        "the luo backend keeps memory over a kexec only: the RAM of a VM would "
        "be lost if this program died between two QEMUs; a live update "
        "(`update` into the running kernel) takes the installed QEMU, too");
  }
  RestartReport report;
  report.set_restart_id(request.update_id.empty() ? NewUpdateId()
                                                  : request.update_id);
  report.set_started_at(NowText());
  if (absl::Status undone = UndoInterruptedUpdate(deps); !undone.ok()) {
    report.set_result(RestartReport::VM_NOT_BACK);
    report.set_reason(std::string(undone.message()));
    return report;
  }
  LU_ASSIGN_OR_RETURN(const HostFacts host, deps.host_facts());
  LU_ASSIGN_OR_RETURN(const std::vector<VmInfo> all,
                      deps.hypervisor->List(absl::Now() + deps.limits.call));
  LU_ASSIGN_OR_RETURN(const std::vector<VmInfo> chosen, Choose(vms, all));
  const absl::StatusOr<HypervisorVersions> versions =
      deps.hypervisor->Versions(absl::Now() + deps.limits.versions);

  bool go_on = true;
  bool stopped = false;
  for (const VmInfo& info : chosen) {
    RestartedVm& vm = *report.add_vms();
    vm.mutable_vm()->set_name(info.ref.name);
    vm.mutable_vm()->set_uuid(info.ref.uuid);
    vm.mutable_vm()->set_was_running(info.state == VmState::kRunning);
    if (!go_on) {
      vm.set_result(RestartedVm::NOT_BEGUN);
      vm.set_reason("the run ended before its turn; it runs on as it did");
      continue;
    }
    ExaminedVm examined = MakeExaminedVm(
        info,
        deps.hypervisor->Examine(info.ref, absl::Now() + deps.limits.call));
    if (!CheckVm(request, backend, host, versions, examined, deps, vm)) {
      LogWarning(absl::StrCat(info.ref.name, " is left alone: ", vm.reason()));
      continue;
    }
    LogInfo(absl::StrCat(info.ref.name, " goes into a new QEMU"));
    Restart restart(request, host, deps, vm);
    go_on = restart.Run(*examined.facts);
    stopped = restart.asked_to_stop();
  }
  Conclude(stopped, report);
  return report;
}

absl::Status FinishInterruptedRestart(const Journal& journal,
                                      const Dependencies& deps) {
  if (journal.vms_size() != 1) {
    return absl::DataLossError("the journal of a restart names no VM");
  }
  const Journal::Vm& vm = journal.vms(0);
  const VmRef ref{.name = vm.name(), .uuid = vm.uuid()};
  const VmProcess process{.pid = journal.restart().pid(),
                          .started = journal.restart().started()};
  LogWarning(absl::StrCat("the restart of ", ref.name,
                          "'s QEMU was cut off in ", journal.phase(),
                          "; going on with it"));
  auto taken_over = deps.memory->RetrieveInThisBoot(journal.update_id());
  if (!taken_over.ok() && !absl::IsNotFound(taken_over.status())) {
    return taken_over.status();
  }
  bool kept = false;
  LU_ASSIGN_OR_RETURN(const auto sets, deps.memory->Unfinished());
  for (const auto& set : sets) {
    if (set->update_id() != journal.update_id()) continue;
    LU_ASSIGN_OR_RETURN(const auto uuids, set->VmUuids());
    kept = absl::c_linear_search(uuids, ref.uuid);
  }
  deps.hypervisor->EndAbandonedRestore(ref, absl::Now() + deps.limits.restore);
  absl::Status ended = absl::FailedPreconditionError("nothing of it is kept");
  if (kept) {
    ended = deps.hypervisor->EndProcess(ref, process,
                                        absl::Now() + deps.limits.save);
  } else if (const auto now = deps.hypervisor->FindProcess(
                 ref, absl::Now() + deps.limits.call);
             !now.ok() || !(*now == process)) {
    return RemoveJournal(deps.paths.run_dir);  // It was restored to the end.
  }
  if (absl::IsFailedPrecondition(ended)) {
    LogWarning(absl::StrCat(ended.message(), "; it goes on in its old QEMU"));
    Journal back = journal;
    back.mutable_restart()->set_ending(false);
    LU_RETURN_IF_ERROR(WriteJournal(deps.paths.run_dir, back));
    return UndoInterruptedUpdate(deps);
  }
  LU_RETURN_IF_ERROR(ended);
  // What is kept is all that there is of the VM: RetryVm knows it by itself.
  LU_RETURN_IF_ERROR(RemoveJournal(deps.paths.run_dir));
  absl::StatusOr<UpdateReport> report = RetryVm(ref.uuid, deps);
  if (report.ok() && report->vms(0).result() == VmReport::RESTORED) {
    LogInfo(absl::StrCat(ref.name, " runs again, in a new QEMU"));
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(
      ref.name, " does not run: its old QEMU has ended, and a new one: ",
      report.ok()
          ? absl::StrCat(report->vms(0).reason(), "; ",
                         report->vms(0).next_step())
          : absl::StrCat(report.status().message(),
                         "; its memory and state are kept: `host-update "
                         "restore --retry ",
                         ref.name, "`")));
}

}  // namespace live_update
