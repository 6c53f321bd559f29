#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "host_update/live_update.h"
#include "host_update/prepare.h"

namespace live_update {

absl::StatusOr<UpdatePlan> PlanUpdate(const UpdateRequest& request,
                                      const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(CheckedHost checked, CheckHost(request, deps));
  UpdatePlan plan;
  plan.set_kernel(request.kernel_path);
  plan.set_initrd(request.initrd_path);
  plan.set_command_line(checked.target.command_line);
  uint64_t all_ram = 0;
  for (const VmFacts& facts : checked.vms) {
    UpdatePlan::Vm& vm = *plan.add_vms();
    vm.set_name(facts.info.ref.name);
    vm.set_uuid(facts.info.ref.uuid);
    vm.set_way("in-place");
    for (const GuestRam& ram : facts.ram) {
      vm.set_ram_bytes(vm.ram_bytes() + ram.size_bytes);
    }
    all_ram += vm.ram_bytes();
  }
  plan.set_state_area_bytes(
      StateAreaBytesFor(checked.vms.size(), request.state_bytes_per_vm));
  plan.add_steps(absl::StrFormat(
      "1  prepare   VMs run: preserve %d MiB of guest RAM in place, reserve %d "
      "MiB for state, stage the kernel, write file systems out",
      all_ram >> 20, plan.state_area_bytes() >> 20));
  plan.add_steps(
      absl::StrFormat("2  pause     %d VMs, all at once; the blackout begins",
                      checked.vms.size()));
  plan.add_steps("3  save      their device state, into preserved memory");
  plan.add_steps("4  commit    the handover becomes valid");
  plan.add_steps(absl::StrCat("5  jump      into ", checked.target.release(),
                              "; no way back from here"));
  plan.add_steps(
      "6  restore   all VMs at once, in the new kernel; the blackout ends");
  plan.add_steps("7  resume    announce NICs, give memory and autostart back");
  *plan.mutable_check() = std::move(checked.report);
  return plan;
}

}  // namespace live_update
