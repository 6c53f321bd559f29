#include "host_update/check.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "host_update/backend.h"
#include "host_update/direct_jump.h"
#include "host_update/early_restore.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/hooks.h"
#include "host_update/journal.h"
#include "host_update/parallel.h"
#include "host_update/preflight_findings.h"
#include "host_update/prepare.h"
#include "host_update/rescue.h"
#include "host_update/unrestored.h"

namespace live_update {
namespace {

std::vector<ExaminedVm> ExamineAll(const std::vector<VmInfo>& vms,
                                   const Dependencies& deps) {
  std::vector<ExaminedVm> examined(vms.size());
  ForEachInParallel(vms.size(), deps.parallelism, [&](size_t i) {
    if (vms[i].state == VmState::kOff) {
      examined[i] = MakeExaminedVm(vms[i], absl::NotFoundError("it is off"));
      return;
    }
    examined[i] = MakeExaminedVm(
        vms[i],
        deps.hypervisor->Examine(vms[i].ref, absl::Now() + deps.limits.call));
    if (!examined[i].facts.ok()) return;
    examined[i].installed_qemu = deps.hypervisor->CheckInstalledQemu(
        vms[i].ref, absl::Now() + deps.limits.call);
  });
  return examined;
}

size_t CountActive(const std::vector<VmInfo>& vms) {
  size_t active = 0;
  for (const VmInfo& vm : vms) active += vm.state == VmState::kOff ? 0 : 1;
  return active;
}

absl::StatusOr<std::vector<std::string>> NamesOfUnrestoredVms(
    const std::vector<VmInfo>& vms, const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const auto unrestored, FindUnrestoredVms(vms, deps));
  std::vector<std::string> names;
  names.reserve(unrestored.size());
  for (const UnrestoredVm& vm : unrestored) names.push_back(vm.name);
  return names;
}

// Executables that would have to run but must not.
std::vector<std::string> RefusedHooks(const std::string& hooks_dir) {
  std::vector<std::string> refused;
  for (const HookKind kind : kHookKinds) {
    const absl::StatusOr<HookFiles> files = ListHooks(hooks_dir, kind);
    if (!files.ok()) {
      refused.emplace_back(files.status().message());
      continue;
    }
    refused.insert(refused.end(), files->refused.begin(), files->refused.end());
  }
  return refused;
}

// Which way the first boot takes to its root file system.
Finding EarlyRootFinding(const absl::StatusOr<EarlySteps>& early) {
  Finding finding;
  finding.set_code("EARLY_ROOT");
  finding.set_severity(Finding::OK);
  finding.set_subject("target");
  finding.set_message(
      early.ok()
          ? absl::StrCat("the first boot mounts ", early->mounts.front().device,
                         " by itself, before the initramfs would")
          : absl::StrCat("the target's initramfs finds its root file system: ",
                         early.status().message()));
  return finding;
}

}  // namespace

absl::StatusOr<CheckedHost> CheckHost(const UpdateRequest& request,
                                      const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const Backend backend, ParseBackend(request.backend));
  CheckedHost checked;
  LU_ASSIGN_OR_RETURN(checked.host, deps.host_facts());
  LU_ASSIGN_OR_RETURN(checked.all_vms,
                      deps.hypervisor->List(absl::Now() + deps.limits.call));
  const absl::StatusOr<HypervisorVersions> versions =
      deps.hypervisor->Versions(absl::Now() + deps.limits.versions);
  std::vector<ExaminedVm> examined = ExamineAll(checked.all_vms, deps);
  const bool has_target = !request.kernel_path.empty();
  const absl::StatusOr<EarlySteps> early =
      DecideEarlyRoot(request, checked.host);
  checked.watchdog = LookAtHardwareWatchdog(request, deps);
  if (has_target) {
    std::string first_boot = FirstBootWords(request, checked.host);
    if (early.ok()) {
      absl::StrAppend(&first_boot, " ", kEarlyRootWord);
      checked.early_root = *early;
    }
    // An ordinary boot loads all drivers.
    if (!first_boot.empty() && checked.watchdog.ok()) {
      absl::StrAppend(&first_boot, HardwareWatchdogWords(*checked.watchdog));
    }
    checked.target =
        deps.read_target({.kernel_path = request.kernel_path,
                          .initrd_path = request.initrd_path,
                          .running_command_line = checked.host.command_line,
                          .append = request.append,
                          .first_boot = first_boot});
  }
  LU_ASSIGN_OR_RETURN(const auto journal, ReadJournal(deps.paths.run_dir));
  const std::vector<std::string> refused_hooks =
      RefusedHooks(deps.paths.hooks_dir);
  // One that can't be read is an error of its own, below.
  const absl::StatusOr<Policy> policy = ReadPolicy(deps.paths.policy_file);
  LU_ASSIGN_OR_RETURN(
      checked.direct_jump,
      DecideDirectJump(request.direct_jump, policy.ok() ? *policy : Policy()));
  checked.report = deps.evaluate(
      {.host = checked.host,
       .versions = versions,
       .vms = examined,
       .target = has_target ? &checked.target : nullptr,
       .state_area_bytes = StateAreaBytesFor(CountActive(checked.all_vms),
                                             request.state_bytes_per_vm),
       .update_interrupted = journal.has_value(),
       .unrestored_vms = NamesOfUnrestoredVms(checked.all_vms, deps),
       .backend = backend,
       .refused_hooks = refused_hooks,
       .overrides = request.overrides,
       .direct_jump = checked.direct_jump});
  if (has_target) *checked.report.add_findings() = EarlyRootFinding(early);
  checked.ways = DecideWays(
      {.policy = policy,
       .asked = request.ways,
       .vms = examined,
       .host = checked.host,
       .backend = backend,
       .state_area_bytes = StateAreaBytesFor(CountActive(checked.all_vms),
                                             request.state_bytes_per_vm)},
      checked.report);
  Findings findings("host", &checked.report);
  CheckRescue(request, checked, deps, findings);
  CheckHardwareWatchdog(request, checked.watchdog, checked.target, findings);
  SetGo(&checked.report);
  absl::flat_hash_set<std::string> in_place;
  for (const VmWay& way : checked.ways) {
    if (way.way == Policy::IN_PLACE) in_place.insert(way.info.ref.uuid);
  }
  for (ExaminedVm& vm : examined) {
    if (in_place.contains(vm.info.ref.uuid) && vm.facts.ok()) {
      checked.vms.push_back(*std::move(vm.facts));
    }
  }
  return checked;
}

}  // namespace live_update
