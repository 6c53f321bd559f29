#include "host_update/restore.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/clock.h"
#include "host_update/early_restore.h"
#include "host_update/guests.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/history.h"
#include "host_update/hooks.h"
#include "host_update/identity.h"
#include "host_update/parallel.h"
#include "host_update/policy.h"
#include "host_update/predict.h"
#include "host_update/rescue.h"
#include "host_update/restore_attempts.h"
#include "host_update/restore_vm.h"
#include "host_update/set_aside.h"
#include "host_update/spans.h"
#include "host_update/underway.h"
#include "host_update/unrestored.h"
#include "state_preserve/handover_reader.h"

namespace live_update {
namespace {

// Says that HoldAutostart held it, so that it is given back once.
std::string HeldMarker(const Dependencies& deps) {
  return absl::StrCat(deps.paths.run_dir, "/autostart-held");
}

absl::Status CreateFile(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(),
                                      error);
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (fd.ok()) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("create ", path));
}

// The handover of the last kernel, or of a run of this program that was cut off
// before it had tried all VMs. kNotFound: neither.
absl::StatusOr<std::unique_ptr<IncomingPreservation>> FindHandover(
    uint64_t last_restored, const Dependencies& deps) {
  auto incoming = deps.memory->Retrieve();
  if (!absl::IsNotFound(incoming.status())) return incoming;
  LU_ASSIGN_OR_RETURN(auto unfinished, deps.memory->Unfinished());
  size_t waiting = 0;
  for (auto& set : unfinished) {
    // Its counter alone, to tell whether it was tried: no key is needed.
    const auto reader = HandoverReader::OpenUnverified(set->image());
    const bool untried =
        !reader.ok() || reader->host().counter() > last_restored;
    // What a restart of QEMU left is no handover of a kernel.
    if (untried && !(reader.ok() && reader->host().qemu_restart())) {
      return std::move(set);
    }
    LU_ASSIGN_OR_RETURN(const auto uuids, set->VmUuids());
    waiting += uuids.size();
  }
  if (waiting > 0) {
    return absl::NotFoundError(absl::StrCat(
        "no new handover; ", waiting,
        " VMs of earlier ones wait for `host-update restore --retry VM`"));
  }
  return absl::NotFoundError("no handover: nothing to restore");
}

// What can be said of an update whose handover is not usable.
UpdateReport Refused(const IncomingPreservation& incoming,
                     const HostFacts& host, const absl::Status& why) {
  UpdateReport report;
  report.set_update_id(incoming.update_id());
  report.set_result(UpdateReport::HANDOVER_REFUSED);
  report.set_reason(absl::StrCat(
      why.message(), "; no VM was started from it, and everything is kept"));
  report.set_kernel_after(host.kernel_release);
  report.set_boot_id_after(host.boot_id);
  return report;
}

// Indices of the VMs in the image, by name: there they are in the order in
// which their saves ended.
std::vector<size_t> ByName(const HandoverReader& reader) {
  std::vector<size_t> order(reader.vms().size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&reader](size_t a, size_t b) {
    return reader.vms()[a].name < reader.vms()[b].name;
  });
  return order;
}

// Reads all VMs. Those whose part of the image is torn go into the report at
// once; the others come back as (index into report.vms, VM).
std::vector<std::pair<int, IncomingVm>> ReadVms(const HandoverReader& reader,
                                                UpdateReport& report) {
  std::vector<std::pair<int, IncomingVm>> vms;
  for (const size_t i : ByName(reader)) {
    VmReport& vm_report = *report.add_vms();
    absl::StatusOr<IncomingVm> vm = reader.ReadVm(i);
    if (vm.ok()) {
      vms.emplace_back(report.vms_size() - 1, *std::move(vm));
      continue;
    }
    vm_report.set_name(reader.vms()[i].name);
    vm_report.set_uuid(reader.vms()[i].uuid);
    vm_report.set_result(VmReport::NOT_RESTORED);
    vm_report.set_way(std::string(WayName(Policy::IN_PLACE)));
    vm_report.set_reason(std::string(vm.status().message()));
    vm_report.set_next_step(absl::StrCat(
        "its memory is kept, but its state is damaged: start it afresh with "
        "`host-update restore --discard ",
        vm_report.name(), "`, then `virsh start ", vm_report.name(), "`"));
    LogError(absl::StrCat(vm_report.name(), ": ", vm_report.reason()));
  }
  return vms;
}

// Makes the wall clock go on from the old kernel's, before the first VM sees
// it. Not set by the RTC alone, which knows whole seconds.
void BridgeHostClock(const HostRecord& record, const ClockSample& first_line,
                     const Dependencies& deps, UpdateReport& report) {
  const ClockBridge bridge =
      BridgeClocks(record.committed_at(), record.tsc_hz(), first_line);
  report.set_clock_bridge(bridge.by_tsc ? "tsc" : "realtime");
  if (!bridge.by_tsc) return;
  const absl::Time now =
      absl::FromUnixNanos(deps.clock->Sample().realtime_ns()) +
      absl::Seconds(bridge.clock_step);
  if (absl::Status status = deps.clock->SetRealtime(now); status.ok()) {
    report.set_clock_step_s(bridge.clock_step);
  } else {
    LogWarning(absl::StrCat("the wall clock stays off by ", bridge.clock_step,
                            " s: ", status.message()));
  }
}

// libvirtd would have started these at its own start, had it not been held:
// autostart VMs, but for those that are protected, those that were lost and
// those that were off before the update.
void GiveAutostartBack(const absl::flat_hash_set<std::string>& leave_off,
                       const Dependencies& deps) {
  if (access(HeldMarker(deps).c_str(), F_OK) != 0) return;
  absl::StatusOr<std::vector<VmInfo>> vms =
      deps.hypervisor->List(absl::Now() + deps.limits.first_answer);
  if (!vms.ok()) {
    LogError(absl::StrCat("autostart VMs are not started: ",
                          vms.status().message()));
    return;
  }
  for (const VmInfo& vm : *vms) {
    if (!vm.autostart || vm.state != VmState::kOff ||
        leave_off.contains(vm.ref.uuid)) {
      continue;
    }
    const absl::Status status =
        deps.hypervisor->Start(vm.ref, absl::Now() + deps.limits.restore);
    if (!status.ok()) {
      LogError(absl::StrCat("autostart ", vm.ref.name, ": ", status.message()));
    }
  }
  unlink(HeldMarker(deps).c_str());
}

// UUIDs of all VMs that still are under protection.
absl::StatusOr<absl::flat_hash_set<std::string>> ProtectedVms(
    const Dependencies& deps) {
  absl::flat_hash_set<std::string> all;
  LU_ASSIGN_OR_RETURN(const auto unrestored, FindUnrestoredVms({}, deps));
  for (const UnrestoredVm& vm : unrestored) all.insert(vm.uuid);
  return all;
}

// The middle of RestoreAll: every VM on its own, all at once, and where they
// can't all be, in this order.
void RestoreVms(const std::vector<std::pair<int, IncomingVm>>& vms,
                IncomingPreservation& incoming, const SpanClock& span_clock,
                const Dependencies& deps, UpdateReport& report) {
  ForEachInParallel(vms.size(), deps.parallelism, [&](size_t i) {
    VmReport& vm_report = *report.mutable_vms(vms[i].first);
    const double start = span_clock.Now();
    (void)RestoreVm(vms[i].second, incoming, deps, vm_report);
    FeedWatchdogs(deps);
    const double end = span_clock.Now();
    vm_report.set_restore_s(end - start);
    if (vm_report.result() != VmReport::RESTORED) return;
    vm_report.set_blackout_s(
        end - span_clock.OldKernel(vms[i].second.record.paused_tsc()));
    LogInfo(absl::StrCat(vm_report.name(), " runs again after ",
                         vm_report.blackout_s(), " s"));
  });
}

// After all VMs run: their place in the network, their memory their own again.
void SettleVms(const std::vector<std::pair<int, IncomingVm>>& vms,
               IncomingPreservation& incoming, const SpanClock& span_clock,
               const Dependencies& deps, UpdateReport& report) {
  ForEachInParallel(vms.size(), deps.parallelism, [&](size_t i) {
    VmReport& vm_report = *report.mutable_vms(vms[i].first);
    if (vm_report.result() != VmReport::RESTORED) return;
    const double start = span_clock.Now();
    const VmRef ref{.name = vm_report.name(), .uuid = vm_report.uuid()};
    if (absl::Status status =
            deps.hypervisor->Announce(ref, absl::Now() + deps.limits.call);
        !status.ok()) {
      LogWarning(absl::StrCat(ref.name, ": announce NICs: ", status.message()));
    }
    vm_report.set_resume_s(span_clock.Now() - start);
    SettleVm(vms[i].second, incoming, deps, vm_report);
  });
}

void GiveRescueUp(const Dependencies& deps) {
  if (absl::Status status = DisarmRescue(deps); !status.ok()) {
    LogWarning(absl::StrCat("the rescue kernel: ", status.message()));
  }
}

// Of an update that ended in a boot without its handover. Told once.
absl::StatusOr<std::optional<UpdateReport>> ReportLost(
    const HostFacts& host, const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(
      const std::vector<VmInfo> vms,
      deps.hypervisor->List(absl::Now() + deps.limits.first_answer));
  LU_ASSIGN_OR_RETURN(const std::optional<UpdateReport> lost,
                      FindLostUpdate(host, vms, deps.paths.state_dir));
  if (!lost.has_value()) return lost;
  LogError(lost->reason());
  LU_RETURN_IF_ERROR(WriteReport(deps.paths.state_dir, *lost));
  LU_RETURN_IF_ERROR(ForgetUnderway(deps.paths.state_dir));
  return lost;
}

// A VM whose QEMU has ended since it was restored: nobody else says so, and
// what it was restored from may be given up.
void NoteEnded(const Dependencies& deps, UpdateReport& report) {
  const auto vms = deps.hypervisor->List(absl::Now() + deps.limits.call);
  if (!vms.ok()) return;  // Not known.
  for (VmReport& vm : *report.mutable_vms()) {
    if (vm.result() != VmReport::RESTORED) continue;
    for (const VmInfo& info : *vms) {
      if (info.ref.uuid != vm.uuid() || info.state != VmState::kOff) continue;
      vm.set_result(VmReport::NOT_RESTORED);
      vm.set_reason("its QEMU ended after it had been restored");
      vm.set_next_step(absl::StrCat("look in its QEMU's log; `virsh start ",
                                    vm.name(), "` starts it afresh"));
      LogError(absl::StrCat(vm.name(), ": ", vm.reason()));
    }
  }
}

// Last of all, with the report written: what was frozen for the update thaws.
absl::Status RunPostResume(const std::string& target_kernel,
                           const Dependencies& deps, UpdateReport& report) {
  const std::vector<Finding> findings =
      RunPostResumeHooks({.update_id = report.update_id(),
                          .kernel = target_kernel,
                          .result = UpdateReport::Result_Name(report.result()),
                          .blackout_s = report.host_blackout_s()},
                         deps);
  if (findings.empty()) return absl::OkStatus();
  for (const Finding& finding : findings) *report.add_findings() = finding;
  return WriteReport(deps.paths.state_dir, report);
}

}  // namespace

absl::StatusOr<UpdateReport> RestoreAll(const ClockSample& first_line,
                                        const Dependencies& deps,
                                        Attempt attempt) {
  NoteRestorerStart(first_line, deps);
  LU_ASSIGN_OR_RETURN(const HostFacts host, deps.host_facts());
  LU_ASSIGN_OR_RETURN(const uint64_t last_restored,
                      ReadCounter(deps.paths.state_dir, kRestoredCounter));
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> incoming =
      FindHandover(last_restored, deps);
  if (absl::IsNotFound(incoming.status())) {
    GiveRescueUp(deps);
    LU_ASSIGN_OR_RETURN(const auto lost, ReportLost(host, deps));
    LU_ASSIGN_OR_RETURN(const auto leave_off, ProtectedVms(deps));
    GiveAutostartBack(leave_off, deps);
    if (lost.has_value()) return *lost;
    return incoming.status();
  }
  if (!incoming.ok()) return incoming.status();

  // The image is checked whole before any VM is started from it.
  absl::StatusOr<HandoverReader> reader =
      HandoverReader::Open((*incoming)->image(), deps.handover.key.get());
  const absl::Status trust =
      !reader.ok() ? reader.status()
                   : CheckBelongsHere(reader->host(), host.machine_id,
                                      host.boot_id, last_restored);
  if (!trust.ok()) {
    UpdateReport report = Refused(**incoming, host, trust);
    LogError(report.reason());
    GiveRescueUp(deps);
    LU_RETURN_IF_ERROR(WriteReport(deps.paths.state_dir, report));
    LU_RETURN_IF_ERROR(RunPostResume("", deps, report));
    return report;
  }
  if (absl::Status begun =
          BeginAttempt(deps.paths.state_dir, (*incoming)->update_id(), attempt);
      !begun.ok()) {
    LogError(begun.message());
    GiveRescueUp(deps);
    LU_ASSIGN_OR_RETURN(UpdateReport report,
                        ReportGivenUp(begun, *reader, **incoming, host, deps));
    LU_RETURN_IF_ERROR(WriteReport(deps.paths.state_dir, report));
    LU_RETURN_IF_ERROR(
        RunPostResume(reader->host().target_kernel(), deps, report));
    return report;
  }

  UpdateReport report = BeginReport(reader->host(), host);
  report.set_handover_bytes((*incoming)->image().size());
  report.set_handover_version(reader->version());
  if (reader->authenticity() == Authenticity::kVerified) {
    report.set_handover_key_id(ToHex(reader->key_id()));
  }
  BridgeHostClock(reader->host(), first_line, deps, report);
  const SpanClock span_clock(reader->host(), first_line, *deps.clock);
  AddOldKernelSpans(reader->host(), span_clock, report);

  const double restore_start = span_clock.Now();
  LU_RETURN_IF_ERROR(deps.entered(Phase::kRestore));
  FeedWatchdogs(deps);
  auto vms = ReadVms(*reader, report);
  std::stable_sort(vms.begin(), vms.end(), [](const auto& a, const auto& b) {
    return a.second.record.restore_priority() >
           b.second.record.restore_priority();
  });
  RestoreVms(vms, **incoming, span_clock, deps, report);
  ReportRescue(host, span_clock.OldKernel(reader->host().committed_at().tsc()),
               deps.clock->Sample(), span_clock.Now(), deps, report);
  AddSpan(Phase::kRestore, restore_start, span_clock.Now(), report);

  const double resume_start = span_clock.Now();
  LU_RETURN_IF_ERROR(deps.entered(Phase::kResume));
  GuestsWaking guests(vms, report, deps);
  SettleVms(vms, **incoming, span_clock, deps, report);
  GiveRescueUp(deps);
  if (absl::Status status = StopHardwareWatchdog(deps); !status.ok()) {
    LogError(status.message());
  }
  if (absl::Status status = LetBootGoOn(deps.paths); !status.ok()) {
    LogWarning(status.message());  // A timer does the same, later.
  }
  guests.Finish(report);
  AddSpan(Phase::kResume, resume_start, span_clock.Now(), report);

  if (reader->host().other_vms_size() > 0) {
    const double settle_start = span_clock.Now();
    LU_RETURN_IF_ERROR(deps.entered(Phase::kSettle));
    StartOthers(reader->host(), span_clock, deps, report);
    AddSpan(Phase::kSettle, settle_start, span_clock.Now(), report);
  }

  LU_RETURN_IF_ERROR(WriteCounter(deps.paths.state_dir, kRestoredCounter,
                                  reader->host().counter()));
  EndAttempts(deps.paths.state_dir);
  NoteEnded(deps, report);
  LU_ASSIGN_OR_RETURN(auto leave_off, ProtectedVms(deps));
  for (VmReport& vm : *report.mutable_vms()) {
    if (vm.way() == WayName(Policy::IN_PLACE)) CorrectNextStep(**incoming, vm);
    if (vm.result() != VmReport::RESTORED) leave_off.insert(vm.uuid());
  }
  leave_off.insert(reader->host().inactive_vm_uuids().begin(),
                   reader->host().inactive_vm_uuids().end());
  GiveAutostartBack(leave_off, deps);
  ConcludeReport(report);
  LU_RETURN_IF_ERROR(WriteReport(deps.paths.state_dir, report));
  LU_RETURN_IF_ERROR(ForgetUnderway(deps.paths.state_dir));
  // An empty set is in nobody's way: the next update removes it.
  if (absl::Status status = (*incoming)->FinishIfEmpty().status();
      !status.ok()) {
    LogWarning(status.message());
  }
  LU_RETURN_IF_ERROR(
      RunPostResume(reader->host().target_kernel(), deps, report));
  return report;
}

absl::StatusOr<bool> VmsWait(const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const bool handover, deps.memory->HasHandover());
  if (handover) return true;
  LU_ASSIGN_OR_RETURN(const auto unfinished, deps.memory->Unfinished());
  LU_ASSIGN_OR_RETURN(const auto copies, deps.memory->Copies());
  return !unfinished.empty() || !copies.empty();
}

absl::StatusOr<bool> HoldAutostart(const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const bool waiting, VmsWait(deps));
  if (!waiting) return false;
  LU_RETURN_IF_ERROR(CreateFile(deps.paths.autostarted_file));
  LU_RETURN_IF_ERROR(CreateFile(HeldMarker(deps)));
  return true;
}

}  // namespace live_update
