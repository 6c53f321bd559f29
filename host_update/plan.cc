#include "host_update/plan.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_code.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/direct_jump.h"
#include "host_update/hooks.h"
#include "host_update/live_update.h"
#include "host_update/predict.h"
#include "host_update/prepare.h"
#include "xxhash.h"

namespace live_update {
namespace {

// Which file it is, and which contents of it. Empty: there is none.
std::string FileIdentity(const UniqueFd& fd) {
  struct stat file {};
  if (!fd.ok() || fstat(fd.get(), &file) != 0) return "";
  return absl::StrCat(file.st_dev, ":", file.st_ino, ":", file.st_size, ":",
                      file.st_mtim.tv_sec, ".", file.st_mtim.tv_nsec);
}

// Tells two states of a host apart that nobody makes alike on purpose: no
// secret, and not for guarding anything against the one who plans.
std::string HashOf(const UpdateRequest& request, const CheckedHost& checked,
                   const UpdatePlan& plan) {
  std::vector<std::string> parts = {checked.host.boot_id,
                                    plan.kernel(),
                                    FileIdentity(checked.target.kernel),
                                    plan.initrd(),
                                    FileIdentity(checked.target.initrd),
                                    plan.command_line(),
                                    request.backend};
  if (checked.direct_jump.has_value()) {
    parts.push_back(GivenUpBy(*checked.direct_jump));
  }
  if (request.rescue) parts.emplace_back("rescue");
  if (!request.watchdog.empty()) parts.push_back(request.watchdog);
  std::vector<std::string> vms;
  for (const VmWay& vm : checked.ways) {
    vms.push_back(absl::StrCat(vm.info.ref.uuid, " ", vm.info.ref.name, " ",
                               static_cast<int>(vm.info.state), " ",
                               WayName(vm.way), " ", vm.restore_priority, " ",
                               vm.ram_bytes));
  }
  std::sort(vms.begin(), vms.end());
  parts.insert(parts.end(), vms.begin(), vms.end());
  for (const UpdatePlan::Hook& hook : plan.hooks()) {
    parts.push_back(absl::StrCat(hook.when(), "/", hook.name()));
  }
  std::vector<std::string> overrides = request.overrides;
  std::sort(overrides.begin(), overrides.end());
  parts.insert(parts.end(), overrides.begin(), overrides.end());
  const std::string all = absl::StrJoin(parts, std::string(1, '\0'));
  const XXH128_hash_t hash = XXH3_128bits(all.data(), all.size());
  return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
}

// A folder that can't be looked at is a finding of the check.
void AddHooks(const Dependencies& deps, UpdatePlan& plan) {
  for (const HookKind kind : kHookKinds) {
    const absl::StatusOr<HookFiles> files =
        ListHooks(deps.paths.hooks_dir, kind);
    if (!files.ok()) continue;
    for (const std::string& name : files->names) {
      UpdatePlan::Hook& hook = *plan.add_hooks();
      hook.set_when(std::string(HookKindName(kind)));
      hook.set_name(name);
      hook.set_limit_s(absl::ToDoubleSeconds(HookLimit(kind, deps.limits)));
    }
  }
}

// "managedsave of vm2, shutdown of vm3, "; empty if all are carried in place.
std::string SettingAside(const CheckedHost& checked) {
  std::string text;
  for (const VmWay& vm : checked.ways) {
    if (vm.way == Policy::IN_PLACE || vm.way == Policy::REFUSE) continue;
    absl::StrAppend(&text, WayName(vm.way), " of ", vm.info.ref.name, ", ");
  }
  return text;
}

void Predict(const Dependencies& deps, UpdatePlan& plan) {
  const BlackoutPrediction prediction = PredictBlackout(deps);
  plan.set_predicted_blackout_s(prediction.host_s);
  plan.set_prediction_basis(prediction.basis);
  for (UpdatePlan::Vm& vm : *plan.mutable_vms()) {
    if (vm.way() != WayName(Policy::IN_PLACE)) continue;  // Not the host's.
    vm.set_predicted_blackout_s(prediction.VmSeconds(vm.uuid()));
  }
}

}  // namespace

UpdatePlan MakePlan(const UpdateRequest& request, const CheckedHost& checked,
                    const Dependencies& deps) {
  UpdatePlan plan;
  plan.set_kernel(request.kernel_path);
  plan.set_initrd(request.initrd_path);
  plan.set_command_line(checked.target.command_line);
  *plan.mutable_vms() = checked.report.vms();
  uint64_t all_ram = 0;
  for (const VmWay& vm : checked.ways) {
    if (vm.way == Policy::IN_PLACE) all_ram += vm.ram_bytes;
  }
  const std::string setting_aside = SettingAside(checked);
  plan.set_state_area_bytes(
      StateAreaBytesFor(checked.vms.size(), request.state_bytes_per_vm));
  plan.add_steps(absl::StrFormat(
      "1  prepare   VMs run: preserve %d MiB of guest RAM in place, reserve %d "
      "MiB for state, stage the kernel, write file systems out%s",
      all_ram >> 20, plan.state_area_bytes() >> 20,
      setting_aside.empty()
          ? ""
          : absl::StrCat("; then, before the others are paused: ",
                         absl::StripSuffix(setting_aside, ", "))));
  plan.add_steps(
      absl::StrFormat("2  pause     %d VMs, all at once; the blackout begins",
                      checked.vms.size()));
  plan.add_steps("3  save      their device state, into preserved memory");
  plan.add_steps("4  commit    the handover becomes valid");
  plan.add_steps(absl::StrCat(
      "5  jump      into ", checked.target.release(),
      checked.direct_jump.has_value()
          ? absl::StrCat(", directly (", GivenUpBy(*checked.direct_jump), ")")
          : "",
      "; no way back from here"));
  plan.add_steps(absl::StrCat(
      "6  restore   all VMs at once, in the new kernel; the blackout ends",
      !request.rescue ? ""
      : request.backend == "dax"
          ? absl::StrCat("; until then a crash leads back into ",
                         checked.host.kernel_release, " (rescue)")
          : "; no rescue: a crash drops what was preserved"));
  plan.add_steps("7  resume    announce NICs, give memory and autostart back");
  AddHooks(deps, plan);
  if (!setting_aside.empty()) {
    plan.add_steps(
        "8  settle    start what was saved or shut down; its blackout ends");
  }
  Predict(deps, plan);
  plan.set_plan_hash(HashOf(request, checked, plan));
  return plan;
}

absl::Status CheckAgreed(const UpdateRequest& request,
                         const CheckedHost& checked, const Dependencies& deps) {
  if (request.plan_hash.empty() && request.max_blackout_s == 0) {
    return absl::OkStatus();
  }
  const UpdatePlan plan = MakePlan(request, checked, deps);
  if (!request.plan_hash.empty() && request.plan_hash != plan.plan_hash()) {
    return WithCode(
        absl::FailedPreconditionError(absl::StrCat(
            "the host is not as it was when the plan was made: its hash is ",
            plan.plan_hash(), " now, not ", request.plan_hash,
            "; look at a new plan")),
        "PLAN_CHANGED");
  }
  if (request.max_blackout_s == 0) return absl::OkStatus();
  if (plan.predicted_blackout_s() == 0) {
    return WithCode(
        absl::FailedPreconditionError(absl::StrFormat(
            "whether the blackout stays below %.1f s can't be predicted: %s; "
            "without a limit on the blackout the update goes ahead",
            request.max_blackout_s, plan.prediction_basis())),
        "BLACKOUT_BUDGET");
  }
  if (plan.predicted_blackout_s() > request.max_blackout_s) {
    return WithCode(
        absl::FailedPreconditionError(absl::StrFormat(
            "the blackout is predicted to be %.1f s (%s), the limit is %.1f s",
            plan.predicted_blackout_s(), plan.prediction_basis(),
            request.max_blackout_s)),
        "BLACKOUT_BUDGET");
  }
  return absl::OkStatus();
}

absl::StatusOr<UpdatePlan> PlanUpdate(const UpdateRequest& request,
                                      const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(CheckedHost checked, CheckHost(request, deps));
  UpdatePlan plan = MakePlan(request, checked, deps);
  *plan.mutable_check() = std::move(checked.report);
  return plan;
}

}  // namespace live_update
