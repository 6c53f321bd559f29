#include "host_update/status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/unrestored.h"

namespace live_update {
namespace {

std::string StateName(VmState state) {
  switch (state) {
    case VmState::kRunning:
      return "running";
    case VmState::kPaused:
      return "paused";
    case VmState::kOff:
      return "off";
    case VmState::kOther:
      return "other";
  }
  return "other";
}

// Empty: `report` is none, or does not know.
std::string NextStepOf(const std::string& uuid,
                       const absl::StatusOr<UpdateReport>& report) {
  if (!report.ok()) return "";
  for (const VmReport& vm : report->vms()) {
    if (vm.uuid() != uuid) continue;
    if (vm.result() == VmReport::RESTORED) {
      return absl::StrCat(
          "it is restored, but its memory is still protected: `host-update "
          "restore --retry ",
          vm.name(), "` gives that up");
    }
    return vm.next_step();
  }
  return "";
}

}  // namespace

absl::StatusOr<HostStatus> ReadStatus(const Dependencies& deps) {
  HostStatus status;
  LU_ASSIGN_OR_RETURN(const HostFacts host, deps.host_facts());
  status.set_kernel(host.kernel_release);
  LU_ASSIGN_OR_RETURN(const bool staged, deps.kexec->IsStaged());
  status.set_kernel_staged(staged);

  LU_ASSIGN_OR_RETURN(const auto journal, ReadJournal(deps.paths.run_dir));
  status.set_phase(journal.has_value() ? journal->phase() : "idle");
  status.set_interrupted(journal.has_value() &&
                         RunLock::Acquire(deps.paths.run_dir).ok());

  LU_ASSIGN_OR_RETURN(const std::vector<VmInfo> vms,
                      deps.hypervisor->List(absl::Now() + deps.limits.call));
  for (const VmInfo& vm : vms) {
    HostStatus::Vm& entry = *status.add_vms();
    entry.set_name(vm.ref.name);
    entry.set_uuid(vm.ref.uuid);
    entry.set_state(StateName(vm.state));
  }
  LU_ASSIGN_OR_RETURN(const auto unrestored, FindUnrestoredVms(vms, deps));
  std::string update_id;
  absl::StatusOr<UpdateReport> report = absl::NotFoundError("none read yet");
  for (const UnrestoredVm& waiting : unrestored) {
    if (waiting.update_id != update_id) {
      update_id = waiting.update_id;
      report = ReadReport(deps.paths.state_dir, update_id);
    }
    HostStatus::Unrestored& vm = *status.add_unrestored();
    vm.set_name(waiting.name);
    vm.set_uuid(waiting.uuid);
    vm.set_next_step(NextStepOf(waiting.uuid, report));
    if (vm.next_step().empty()) {
      vm.set_next_step(
          waiting.qemu_restart
              ? absl::StrCat("memory and state are kept: `host-update restore "
                             "--retry ",
                             waiting.name, "`")
              : "memory and state are kept: `host-update restore` goes on with "
                "it, or says why it can't");
    }
    status.add_unrestored_vms(waiting.name);
  }
  absl::StatusOr<UpdateReport> last = ReadReport(deps.paths.state_dir, "");
  if (last.ok()) *status.mutable_last_update() = *std::move(last);
  return status;
}

}  // namespace live_update
