#include "host_update/set_aside.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/bounded_sync.h"
#include "host_update/journal.h"
#include "host_update/parallel.h"

namespace live_update {
namespace {

VmRef RefOf(const OtherVm& vm) {
  return {.name = vm.name(), .uuid = vm.uuid()};
}

bool IsCopy(const OtherVm& vm) { return vm.way() == WayName(Policy::COPY); }

absl::Status SetAside(const VmWay& way, OtherVm& vm, const Dependencies& deps) {
  const absl::Time start = absl::Now();
  vm.set_stopped_tsc(deps.clock->Sample().tsc());
  switch (way.way) {
    case Policy::MANAGEDSAVE:
      return deps.hypervisor->ManagedSave(way.info.ref,
                                          start + deps.limits.whole_vm);
    case Policy::COPY: {
      LU_ASSIGN_OR_RETURN(const std::string path,
                          deps.memory->CopyPath(vm.uuid()));
      return deps.hypervisor->SaveToFile(way.info.ref, path,
                                         start + deps.limits.whole_vm);
    }
    case Policy::SHUTDOWN: {
      const absl::Status status =
          deps.hypervisor->Shutdown(way.info.ref, start + way.shutdown_timeout);
      // It ran until now.
      vm.set_stopped_tsc(deps.clock->Sample().tsc());
      if (!absl::IsDeadlineExceeded(status)) return status;
      return absl::DeadlineExceededError(
          absl::StrCat("asked to shut down, it was not off after ",
                       absl::FormatDuration(way.shutdown_timeout),
                       "; it runs on, but may still go down: `virsh start ",
                       vm.name(), "` then"));
    }
    default:
      return absl::InternalError("it is not to be set aside");
  }
}

absl::StatusOr<std::optional<VmState>> StateOf(const OtherVm& vm,
                                               const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const std::vector<VmInfo> all,
                      deps.hypervisor->List(absl::Now() + deps.limits.call));
  for (const VmInfo& info : all) {
    if (info.ref.uuid == vm.uuid()) return info.state;
  }
  return std::nullopt;
}

absl::Status StartAgain(const OtherVm& vm, bool is_known,
                        const Dependencies& deps) {
  const absl::Time deadline = absl::Now() + deps.limits.whole_vm;
  if (!IsCopy(vm)) {
    return is_known ? deps.hypervisor->Start(RefOf(vm), deadline)
                    : absl::NotFoundError("the hypervisor does not know it");
  }
  LU_ASSIGN_OR_RETURN(const auto copies, deps.memory->Copies());
  if (!absl::c_linear_search(copies, vm.uuid())) {
    return absl::NotFoundError("there is no copy of it");
  }
  LU_ASSIGN_OR_RETURN(const std::string path, deps.memory->CopyPath(vm.uuid()));
  return deps.hypervisor->RestoreFromFile(RefOf(vm), path, vm.was_running(),
                                          deadline);
}

}  // namespace

absl::Status SetVmsAside(const std::vector<VmWay>& ways, Journal& journal,
                         const Dependencies& deps) {
  std::vector<const VmWay*> aside;
  for (const VmWay& way : ways) {
    if (way.way == Policy::IN_PLACE || way.way == Policy::REFUSE) continue;
    aside.push_back(&way);
    OtherVm& vm = *journal.add_set_aside();
    vm.set_name(way.info.ref.name);
    vm.set_uuid(way.info.ref.uuid);
    vm.set_way(std::string(WayName(way.way)));
    vm.set_restore_priority(way.restore_priority);
    vm.set_was_running(way.info.state == VmState::kRunning);
  }
  if (aside.empty()) return absl::OkStatus();
  LU_RETURN_IF_ERROR(WriteJournal(deps.paths.run_dir, journal));

  std::mutex mutex;
  absl::Status first;
  ForEachInParallel(aside.size(), deps.parallelism, [&](size_t i) {
    OtherVm& vm = *journal.mutable_set_aside(static_cast<int>(i));
    LogInfo(absl::StrCat(vm.name(), ": ", vm.way()));
    const absl::Status status = SetAside(*aside[i], vm, deps);
    if (status.ok()) return;
    std::lock_guard lock(mutex);
    first.Update(Annotate(status, absl::StrCat(vm.way(), " of ", vm.name())));
  });
  LU_RETURN_IF_ERROR(first);
  // What libvirt saved lies in the page cache, and would have to be written out
  // in the blackout of the others.
  return BoundedSync(deps.sync).Wait(deps.limits.whole_vm);
}

absl::StatusOr<bool> BringBack(const OtherVm& vm, const Dependencies& deps) {
  const absl::Status stopped =
      deps.hypervisor->StopSaving(RefOf(vm), absl::Now() + deps.limits.save);
  if (!absl::IsNotFound(stopped)) LU_RETURN_IF_ERROR(stopped);
  LU_ASSIGN_OR_RETURN(const std::optional<VmState> state, StateOf(vm, deps));
  const bool is_off = !state.has_value() || *state == VmState::kOff;
  if (!is_off) {
    LU_RETURN_IF_ERROR(deps.hypervisor->Resume(
        RefOf(vm), vm.was_running(), absl::Now() + deps.limits.resume));
  } else {
    LU_RETURN_IF_ERROR(StartAgain(vm, state.has_value(), deps));
  }
  if (!IsCopy(vm)) return is_off;
  if (absl::Status removed = deps.memory->RemoveCopy(vm.uuid());
      !removed.ok()) {
    LogError(absl::StrCat(vm.name(),
                          " runs, but its copy is left: ", removed.message()));
  }
  return is_off;
}

void BringBackAll(
    const std::vector<OtherVm>& vms, const Dependencies& deps,
    const std::function<void(size_t, const absl::StatusOr<bool>&)>& done) {
  std::vector<size_t> order(vms.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&vms](size_t a, size_t b) {
    return vms[a].restore_priority() > vms[b].restore_priority();
  });
  ForEachInParallel(order.size(), deps.parallelism, [&](size_t i) {
    done(order[i], BringBack(vms[order[i]], deps));
  });
}

std::string HowToStart(const OtherVm& vm, const Dependencies& deps) {
  if (!IsCopy(vm)) return absl::StrCat("`virsh start ", vm.name(), "`");
  return absl::StrCat("`virsh restore ",
                      deps.memory->CopyPath(vm.uuid()).value_or("its copy"),
                      vm.was_running() ? "" : " --paused",
                      "`, and once it runs `host-update "
                      "restore --discard ",
                      vm.uuid(), "`");
}

void StartOthers(const HostRecord& host, const SpanClock& span_clock,
                 const Dependencies& deps, UpdateReport& report) {
  const std::vector<OtherVm> vms(host.other_vms().begin(),
                                 host.other_vms().end());
  const int first = report.vms_size();
  for (const OtherVm& vm : vms) {
    VmReport& entry = *report.add_vms();
    entry.set_name(vm.name());
    entry.set_uuid(vm.uuid());
    entry.set_way(vm.way());
    entry.set_was_running(vm.was_running());
  }
  const double start = span_clock.Now();
  BringBackAll(vms, deps, [&](size_t i, const absl::StatusOr<bool>& done) {
    VmReport& entry = *report.mutable_vms(first + static_cast<int>(i));
    if (done.ok()) {
      const double now = span_clock.Now();
      entry.set_result(VmReport::RESTORED);
      entry.set_restore_s(now - start);
      entry.set_blackout_s(now - span_clock.OldKernel(vms[i].stopped_tsc()));
      LogInfo(absl::StrCat(entry.name(), " is back, carried by ", entry.way()));
      return;
    }
    entry.set_result(VmReport::NOT_RESTORED);
    entry.set_reason(std::string(done.status().message()));
    entry.set_next_step(
        IsCopy(vms[i])
            ? absl::StrCat("its copy is kept; mend the cause, then "
                           "`host-update restore --retry ",
                           vms[i].name(), "`, or ", HowToStart(vms[i], deps))
            : absl::StrCat("mend the cause, then ", HowToStart(vms[i], deps),
                           vms[i].way() == WayName(Policy::MANAGEDSAVE)
                               ? ": libvirt keeps what it saved"
                               : ""));
    LogError(
        absl::StrCat(entry.name(), " is not back: ", done.status().message()));
  });
}

}  // namespace live_update
