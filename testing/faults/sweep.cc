#include "testing/faults/sweep.h"

#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "host_update/undo.h"
#include "testing/faults/fault_injector.h"
#include "testing/faults/faulty_dependencies.h"

namespace live_update::testing {
namespace {

constexpr absl::Duration kShort = absl::Milliseconds(150);
constexpr absl::Duration kSync = absl::Milliseconds(500);
constexpr char kOther[] = "other";  // The VM that is not carried in place.

std::string MemoryOf(const std::string& name) {
  return absl::StrCat("what ", name, " had in its memory");
}

// One process of host-update: a thread that, once killed, does nothing more and
// never ends.
class Process {
 public:
  // Returns when `work` has, or when it was killed: then false.
  bool Run(std::function<void()> work) {
    state_ = std::make_shared<State>();
    std::thread([state = state_, work = std::move(work)] {
      work();
      const absl::MutexLock lock(&state->mutex);
      state->ended = true;
    }).detach();
    const absl::MutexLock lock(&state_->mutex);
    State& state = *state_;
    const auto over = [&state] { return state.ended || state.killed; };
    state_->mutex.Await(absl::Condition(&over));
    return !state_->killed;
  }

  // Called by the process itself; does not return.
  [[noreturn]] void Kill() {
    {
      const absl::MutexLock lock(&state_->mutex);
      state_->killed = true;
    }
    while (true) pause();
  }

 private:
  struct State {
    absl::Mutex mutex;
    bool ended = false;
    bool killed = false;
  };
  std::shared_ptr<State> state_;
};

// What threads of a killed process, and calls that were waited for in vain, may
// still touch: it stays.
struct Remains {
  std::shared_ptr<Dependencies> deps;
  std::shared_ptr<FaultySeams> seams;
  std::shared_ptr<FaultInjector> injector;
};

void Keep(Remains remains) {
  static auto* const kept = new std::vector<Remains>;
  kept->push_back(std::move(remains));
}

// A host under one fault.
class Run {
 public:
  explicit Run(const SweepCase& sweep_case)
      : case_(sweep_case),
        host_(std::make_unique<FakeHost>(sweep_case.backend)),
        injector_(std::make_shared<FaultInjector>(
            sweep_case.fault,
            FaultEffects{
                .kill_process = [process = process_] { process->Kill(); },
                .kill_qemu =
                    [this](const std::string& vm) {
                      host_->hypervisor().Crash(vm);
                    },
                .kill_libvirt = [] {},
                .delay = absl::Milliseconds(5),
                .stall = 2 * kSync,
                .outage = kShort})) {
    for (int i = 1; i <= sweep_case.vms; ++i) {
      const std::string name = absl::StrCat("vm", i);
      Add(name, i == 3 ? VmState::kPaused : VmState::kRunning);
    }
    if (sweep_case.vms > 1) Add(kOther, VmState::kRunning);
    // Only what is to be waited for in vain is short: this machine may be busy.
    TimeLimits& limits = host_->deps().limits;
    const FaultPoint point = sweep_case.fault.point;
    if (point == FaultPoint::kFlush || point == FaultPoint::kSeal) {
      limits.sync = kSync;
    } else if (sweep_case.fault.action == FaultAction::kStall) {
      limits.pause = limits.save = limits.resume = limits.restore = kShort;
    }
    if (sweep_case.fault.action == FaultAction::kStall &&
        point == FaultPoint::kAnnounceVm) {
      limits.call = kShort;
    }
  }

  SweepRow Go() {
    SweepRow row{.name = CaseName(case_)};
    row.outcome = Update();
    if (!injector_->met() && row.outcome != Outcome::kLostSilently) {
      Say("the fault was never met");
      row.outcome = Outcome::kUnclear;
    }
    row.detail = absl::StrJoin(said_, "; ");
    return row;
  }

 private:
  void Add(const std::string& name, VmState state) {
    host_->hypervisor().AddVm(name, state, MemoryOf(name));
    states_.emplace_back(name, state);
  }

  void Say(absl::string_view text) { said_.emplace_back(text); }

  FakeHypervisor& hypervisor() { return host_->hypervisor(); }
  VmState StateOf(const std::string& name) {
    return hypervisor().vm(name).info.state;
  }

  // Runs `work` in a process that meets the fault. False: it was killed.
  bool InFaultyProcess(const std::function<void(const Dependencies&)>& work) {
    // A process that was killed goes on to use them.
    auto deps = std::make_shared<Dependencies>(host_->deps());
    auto seams = std::make_shared<FaultySeams>(*deps, injector_.get());
    const bool ended = process_->Run([deps, work] { work(*deps); });
    // Other threads of a killed process come to rest at their next call.
    const bool waits_for_flush = case_.fault.point == FaultPoint::kFlush ||
                                 case_.fault.point == FaultPoint::kSeal;
    if (!ended) absl::SleepFor(waits_for_flush ? 3 * kSync : 5 * kShort);
    seams->memory()->LetGo();
    Keep({deps, seams, injector_});
    return ended;
  }

  UpdateRequest Request() const {
    UpdateRequest request = host_->Request();
    if (case_.vms > 1) request.ways = {{kOther, "managedsave"}};
    return request;
  }

  Outcome Update() {
    const UpdateRequest request = Request();
    if (case_.fault.point == FaultPoint::kUndoVm) {
      host_->kexec().FailNextJump(absl::InternalError("to be taken back"));
    }
    auto result = std::make_shared<LiveUpdateResult>();
    const bool ended = InFaultyProcess([result, request](const auto& deps) {
      *result = LiveUpdate(request, deps);
    });
    if (host_->kexec().jumped()) {
      host_->Kexec(/*seconds=*/1);
      return Restore();
    }
    return JudgeOld(ended ? *result : LiveUpdateResult());
  }

  // --- In the old kernel.

  // What the unit's ExecStopPost does, in a process of its own.
  void Abort() {
    absl::SleepFor(kShort);  // libvirtd is back.
    host_->NextProcess();
    const auto journal = ReadJournal(host_->deps().paths.run_dir);
    if (!journal.ok() || !journal->has_value()) {
      (void)host_->deps().memory->DiscardStaleOutgoing();
      return;
    }
    const UndoResult undone = UndoUpdate(**journal, host_->deps());
    for (const auto* lines : {&undone.gone, &undone.not_resumed,
                              &undone.left_over, &undone.started}) {
      said_.insert(said_.end(), lines->begin(), lines->end());
    }
  }

  Outcome JudgeOld(const LiveUpdateResult& result) {
    Say(result.report.reason());
    if (result.status.ok()) Say("killed");
    Abort();
    if (*host_->kexec().IsStaged()) return Unclear("a kernel is staged");
    if (IsAnythingLeft()) return Unclear("memory is still preserved");
    if (ReadJournal(host_->deps().paths.run_dir)->has_value()) {
      return Unclear("there is a journal");
    }
    Outcome outcome = Outcome::kAllOnOld;
    for (const auto& [name, state] : states_) {
      if (IsAsBefore(name, state, /*restored=*/false)) continue;
      if (StateOf(name) != VmState::kOff) {
        return Unclear(absl::StrCat(name, " is not as it was"));
      }
      if (!IsNamed(name)) return LostSilently(name);
      outcome = Outcome::kReportedLost;
    }
    if (outcome == Outcome::kAllOnOld && !NextUpdateWorks()) {
      return Unclear("no next update");
    }
    return outcome;
  }

  // --- In the new one.

  Outcome Restore() {
    auto report = std::make_shared<absl::StatusOr<UpdateReport>>(
        absl::InternalError("killed"));
    const auto restore = [this, report](const Dependencies& deps) {
      *report = RestoreAll(host_->clock().Sample(), deps);
    };
    if (InFaultyProcess(restore)) {
      Say(report->ok() ? (*report)->reason() : report->status().message());
    } else {
      Say("killed");
    }
    if (!report->ok()) {
      // The ordinary boot starts the unit once more.
      absl::SleepFor(kShort);
      host_->NextProcess();
      restore(host_->deps());
      if (!report->ok()) Say(report->status().message());
    }
    return JudgeNew(*report);
  }

  Outcome JudgeNew(const absl::StatusOr<UpdateReport>& report) {
    absl::SleepFor(case_.fault.action == FaultAction::kKillLibvirt
                       ? kShort
                       : absl::ZeroDuration());
    host_->NextProcess();
    Outcome outcome = Outcome::kAllOnNew;
    const absl::StatusOr<HostStatus> status = ReadStatus(host_->deps());
    if (!status.ok()) return Unclear(status.status().message());
    for (const auto& vm : status->unrestored()) {
      Say(absl::StrCat(vm.name(), ": ", vm.next_step()));
    }
    const bool refused =
        report.ok() && report->result() == UpdateReport::HANDOVER_REFUSED;
    if (report.ok()) {
      for (const VmReport& vm : report->vms()) {
        if (vm.result() == VmReport::RESTORED) continue;
        Say(absl::StrCat(vm.name(), ": ", vm.reason(), ": ", vm.next_step()));
      }
    }
    for (const auto& [name, state] : states_) {
      if (IsAsBefore(name, state, /*restored=*/name != kOther)) continue;
      if (StateOf(name) != VmState::kOff) {
        return LostSilently(absl::StrCat(name, " runs, but not as it was"));
      }
      if (!refused && !IsNamed(name)) return LostSilently(name);
      if (!BringBack(name) ||
          !IsAsBefore(name, state, /*restored=*/name != kOther)) {
        outcome = Outcome::kReportedLost;
      } else if (outcome == Outcome::kAllOnNew) {
        outcome = Outcome::kReportedRecoverable;
      }
    }
    // One that runs may still be under protection.
    for (const auto& vm : status->unrestored()) {
      if (StateOf(vm.name()) != VmState::kOff) (void)BringBack(vm.name());
    }
    if (outcome != Outcome::kReportedLost && !NextUpdateWorks()) {
      return Unclear("no next update");
    }
    return outcome;
  }

  // The host is as good as before: all VMs cross once more, nothing is left.
  bool NextUpdateWorks() {
    host_->NextProcess();
    host_->kexec().Boot();
    const LiveUpdateResult left = LiveUpdate(Request(), host_->deps());
    if (!left.status.ok()) {
      Say(absl::StrCat("the next update: ", left.status.message()));
      return false;
    }
    host_->Kexec(/*seconds=*/1);
    const auto report = RestoreAll(host_->clock().Sample(), host_->deps());
    if (!report.ok()) {
      Say(absl::StrCat("the next restore: ", report.status().message()));
      return false;
    }
    for (const auto& [name, state] : states_) {
      if (!IsAsBefore(name, state, /*restored=*/name != kOther)) {
        Say(absl::StrCat(name, " did not cross once more: ", report->reason()));
        return false;
      }
    }
    if (IsAnythingLeft()) Say("memory is still preserved");
    return !IsAnythingLeft();
  }

  // What the report and `status` tell the operator to do.
  bool BringBack(const std::string& name) {
    if (name == kOther) {
      return hypervisor()
          .Start(hypervisor().vm(name).info.ref, absl::InfiniteFuture())
          .ok();
    }
    const absl::StatusOr<UpdateReport> report = RetryVm(name, host_->deps());
    if (!report.ok()) Say(report.status().message());
    return report.ok();
  }

  // --- What is seen.

  // It was `state` before the update, with its memory full.
  bool IsAsBefore(const std::string& name, VmState state, bool restored) {
    const FakeHypervisor::Vm& vm = hypervisor().vm(name);
    return vm.info.state == state &&
           hypervisor().Memory(name) == MemoryOf(name) && vm.boots == 1 &&
           !vm.save_pending &&
           (!restored ||
            vm.loaded_state == absl::StrCat(name, " save ", vm.saves));
  }

  bool IsAnythingLeft() {
    if (case_.backend == FakeHost::Backend::kLuo) {
      return host_->luo_kernel().FileCount() > 0;
    }
    return !host_->LeftInPreservedMemory().empty();
  }

  bool IsNamed(const std::string& name) {
    return absl::c_any_of(said_, [&name](const std::string& text) {
      return absl::StrContains(text, name);
    });
  }

  Outcome Unclear(absl::string_view why) {
    Say(why);
    return Outcome::kUnclear;
  }
  Outcome LostSilently(absl::string_view what) {
    Say(absl::StrCat("LOST: ", what));
    return Outcome::kLostSilently;
  }

  const SweepCase case_;
  const std::shared_ptr<Process> process_ = std::make_shared<Process>();
  std::unique_ptr<FakeHost> host_;
  std::shared_ptr<FaultInjector> injector_;
  std::vector<std::pair<std::string, VmState>> states_;
  std::vector<std::string> said_;
};

// Whether `action` can be done at `point` by itself.
bool HasMeaning(const FaultPointInfo& info, FaultAction action, int vms) {
  switch (info.point) {
    case FaultPoint::kEndVm:  // Only when a QEMU alone is replaced.
      return false;
    case FaultPoint::kFinish:
      // The report is written, and the VMs are nobody's but their own.
      if (action == FaultAction::kKillQemu) return false;
      break;
    case FaultPoint::kSettle:  // Only with VMs of other ways.
      if (vms == 1) return false;
      break;
    default:
      break;
  }
  switch (action) {
    case FaultAction::kStall:
      return info.has_deadline;
    case FaultAction::kKillQemu:
      // None runs there.
      return info.point != FaultPoint::kRestore &&
             info.point != FaultPoint::kRestoreVm &&
             info.point != FaultPoint::kRetrieveRam &&
             info.point != FaultPoint::kRetrieve;
    case FaultAction::kFlip:
    case FaultAction::kCut:
      // On entering the phase of the jump and at the jump are one.
      return HasImage(info.point) && info.point != FaultPoint::kJump;
    default:
      return true;
  }
}

}  // namespace

absl::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAllOnOld:
      return "all_on_old";
    case Outcome::kAllOnNew:
      return "all_on_new";
    case Outcome::kReportedRecoverable:
      return "reported_recoverable";
    case Outcome::kReportedLost:
      return "reported_lost";
    case Outcome::kLostSilently:
      return "lost_silently";
    case Outcome::kUnclear:
      return "unclear";
  }
  return "unclear";
}

std::vector<SweepCase> AllSweepCases() {
  std::vector<SweepCase> cases;
  for (const auto backend :
       {FakeHost::Backend::kDirectory, FakeHost::Backend::kLuo}) {
    for (const int vms : {1, 3}) {
      for (const FaultPointInfo& point : FaultPoints()) {
        for (const FaultActionInfo& action : FaultActions()) {
          if (!HasMeaning(point, action.action, vms)) continue;
          const std::string vm = absl::StrCat("vm", vms == 1 ? 1 : 2);
          Fault fault{.point = point.point, .action = action.action};
          if (point.scope == FaultPointInfo::kVm) fault.vm = vm;
          if (action.action == FaultAction::kKillQemu) fault.victim = vm;
          cases.push_back(
              {.backend = backend, .vms = vms, .fault = std::move(fault)});
        }
      }
    }
  }
  return cases;
}

std::string CaseName(const SweepCase& sweep_case) {
  return absl::StrCat(
      sweep_case.backend == FakeHost::Backend::kLuo ? "luo/" : "dax/",
      sweep_case.vms, "/", FaultText(sweep_case.fault));
}

SweepRow RunSweepCase(const SweepCase& sweep_case) {
  return Run(sweep_case).Go();
}

}  // namespace live_update::testing
