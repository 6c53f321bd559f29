// prepare: all that can be done, or can fail, while the VMs run.

#ifndef HOST_UPDATE_PREPARE_H_
#define HOST_UPDATE_PREPARE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "host_update/hypervisor.h"
#include "state_preserve/handover_writer.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

// One block of guest RAM under protection.
struct PreparedRam {
  std::string block;
  PreservedRam preserved;
  UniqueFd fd;  // To digest it once the VM is paused.
};

struct PreparedVm {
  VmInfo info;
  VmDescription description;
  std::vector<PreparedRam> ram;
  std::optional<RamPages> pages;  // Of all `ram`; unset: not known.
  int restore_priority = 0;
  // Set by PauseVm.
  uint64_t paused_tsc = 0;
  double pause_s = 0;
  bool leave_guest_clock = false;
  // Set by NotifyGuests.
  bool guest_agent = false;
  bool guest_told = false;
};

// A host ready for the pause: kernel staged, guest RAM preserved, room for the
// handover reserved.
struct PreparedUpdate {
  std::string update_id;
  HostFacts host;
  uint64_t counter = 0;
  std::vector<PreparedVm> vms;
  std::vector<std::string> inactive_vm_uuids;
  std::vector<Finding> overridden;  // Errors that the operator took on.
  bool qemu_restart = false;        // No kexec is to come.
  // Shared with a call to it that hangs, and is waited for no more.
  std::shared_ptr<OutgoingPreservation> outgoing;
  std::unique_ptr<HandoverWriter> writer;
};

// Takes the next number for an update, begins its outgoing preservation and
// reserves room for a handover of `vm_count` VMs. On failure an outgoing set
// may be left.
absl::Status BeginHandover(PreparedUpdate& update, size_t vm_count,
                           uint64_t bytes_per_vm, const Dependencies& deps);

// Puts the VM's RAM under protection, takes its descriptors out of `facts`, and
// describes it. The VM runs on.
absl::StatusOr<PreparedVm> PrepareVm(VmFacts& facts,
                                     OutgoingPreservation& outgoing,
                                     const Dependencies& deps);

// Preserved memory that the handover of so many VMs takes at most.
uint64_t StateAreaBytesFor(size_t vm_count, uint64_t bytes_per_vm);

// VMs run on throughout. On failure what was done so far stays: UndoUpdate
// takes it back.
absl::StatusOr<PreparedUpdate> Prepare(const UpdateRequest& request,
                                       CheckedHost& checked,
                                       const std::string& update_id,
                                       const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_PREPARE_H_
