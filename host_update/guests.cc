#include "host_update/guests.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "host_update/parallel.h"

namespace live_update {
namespace {

// Most of them only wait, so there may be many at once.
constexpr size_t kParallelism = 64;

constexpr char kNotify[] = "notify";
constexpr char kResumed[] = "resumed";

// Below it a guest's clock is as right as an agent's answer can tell.
constexpr double kNoLag = 0.05;  // Seconds.

// For an agent that has just answered: to set the time it starts a program that
// also sets the hardware clock, on the edge of a second.
constexpr absl::Duration kSetTime = absl::Seconds(30);

constexpr absl::Duration kBetweenTries = absl::Milliseconds(200);

// Whether `status` of a guest's hook came from an agent that answered.
bool AgentAnswered(const absl::Status& status) {
  return !absl::IsUnimplemented(status) && !absl::IsUnavailable(status) &&
         !absl::IsDeadlineExceeded(status);
}

absl::Status RunHook(const VmRef& vm, const std::string& word,
                     const Dependencies& deps) {
  absl::Status status = deps.hypervisor->RunGuestHook(
      vm, word, absl::Now() + deps.limits.guest_hook);
  // Most guests have no agent or no hook, and that is well.
  if (status.ok() || absl::IsFailedPrecondition(status) ||
      absl::IsDeadlineExceeded(status)) {
    LogInfo(absl::StrCat(vm.name, ": its hook for ", word, ": ",
                         status.ok() ? "ran" : status.message()));
  }
  return status;
}

absl::Time HostNow(const Dependencies& deps) {
  return absl::FromUnixNanos(deps.clock->Sample().realtime_ns());
}

// By how much the guest's wall clock lags the host's, in seconds. An agent that
// answered before the pause may need a moment to be connected again.
absl::StatusOr<double> AskLag(const VmRef& vm, bool patiently,
                              const Dependencies& deps) {
  const absl::Time deadline = absl::Now() + deps.limits.guest_agent;
  while (true) {
    const absl::Time before = HostNow(deps);
    const absl::StatusOr<absl::Time> guest =
        deps.hypervisor->GuestTime(vm, deadline);
    if (guest.ok()) {
      const absl::Time middle = before + (HostNow(deps) - before) / 2;
      return absl::ToDoubleSeconds(middle - *guest);
    }
    if (!patiently || !absl::IsUnavailable(guest.status()) ||
        absl::Now() + kBetweenTries >= deadline) {
      return guest.status();
    }
    absl::SleepFor(kBetweenTries);
  }
}

void PutClockRight(const VmRef& vm, bool patiently, double blackout_s,
                   const Dependencies& deps, VmReport& report) {
  const auto lags = [&report](const absl::Status& why) {
    report.set_guest_clock("lagging");
    report.set_guest_agent(std::string(why.message()));
  };
  report.set_guest_clock_lag_s(blackout_s);
  const absl::StatusOr<double> lag = AskLag(vm, patiently, deps);
  if (!lag.ok()) return lags(lag.status());
  report.set_guest_agent("answered");
  report.set_guest_clock_lag_s(*lag);
  if (*lag < kNoLag) {
    // Set back it would run backwards; its own time service knows better.
    report.set_guest_clock("right");
    return;
  }
  const absl::Status set =
      deps.hypervisor->SetGuestTime(vm, HostNow(deps), absl::Now() + kSetTime);
  if (!set.ok()) return lags(set);
  report.set_guest_clock("set");
}

}  // namespace

void NotifyGuests(std::vector<PreparedVm>& vms, Journal& journal,
                  const Dependencies& deps) {
  ForEachInParallel(vms.size(), kParallelism, [&](size_t i) {
    PreparedVm& vm = vms[i];
    if (vm.info.state != VmState::kRunning) return;
    const absl::Status status = RunHook(vm.info.ref, kNotify, deps);
    vm.guest_agent = AgentAnswered(status);
    vm.guest_told = status.ok();
    // One that didn't answer in time may have heard it nevertheless.
    journal.mutable_vms(static_cast<int>(i))
        ->set_guest_told(status.ok() || absl::IsDeadlineExceeded(status));
  });
}

void TellGuestsOfReturn(const Journal& journal, const Dependencies& deps) {
  ForEachInParallel(journal.vms_size(), kParallelism, [&](size_t i) {
    const Journal::Vm& vm = journal.vms(static_cast<int>(i));
    if (!vm.guest_told()) return;
    (void)RunHook({.name = vm.name(), .uuid = vm.uuid()}, kResumed, deps);
  });
}

VmReport WakeGuest(const VmRecord& vm, double blackout_s,
                   const Dependencies& deps) {
  VmReport report;
  const VmRef ref{.name = vm.name(), .uuid = vm.uuid()};
  if (vm.guest_told()) report.add_guest_told(kNotify);
  if (!vm.was_running()) {
    report.set_guest_clock("lagging");
    report.set_guest_clock_lag_s(blackout_s);
    report.set_guest_agent("the VM is paused");
    return report;
  }
  if (vm.leave_guest_clock()) {
    report.set_guest_clock("left");
    report.set_guest_clock_lag_s(blackout_s);
    report.set_guest_agent("not asked");
  } else {
    PutClockRight(ref, vm.guest_agent(), blackout_s, deps, report);
    LogInfo(absl::StrCat(ref.name, ": its wall clock lagged by ",
                         report.guest_clock_lag_s(), " s, ",
                         report.guest_clock(),
                         " (guest agent: ", report.guest_agent(), ")"));
  }
  if (vm.guest_agent() && RunHook(ref, kResumed, deps).ok()) {
    report.add_guest_told(kResumed);
  }
  return report;
}

GuestsWaking::GuestsWaking(const std::vector<std::pair<int, IncomingVm>>& vms,
                           const UpdateReport& report,
                           const Dependencies& deps) {
  std::vector<std::pair<const VmRecord*, double>> restored;
  for (const auto& [index, vm] : vms) {
    const VmReport& vm_report = report.vms(index);
    if (vm_report.result() != VmReport::RESTORED) continue;
    restored.emplace_back(&vm.record, vm_report.blackout_s());
    guests_.emplace_back(index, VmReport());
  }
  thread_ = std::jthread([this, restored = std::move(restored), &deps] {
    ForEachInParallel(restored.size(), kParallelism, [&](size_t i) {
      guests_[i].second =
          WakeGuest(*restored[i].first, restored[i].second, deps);
    });
  });
}

void GuestsWaking::Finish(UpdateReport& report) {
  thread_.join();
  for (const auto& [index, guest] : guests_) {
    report.mutable_vms(index)->MergeFrom(guest);
  }
}

}  // namespace live_update
