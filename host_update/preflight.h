// The verdict before anything is touched: host, target kernel and each VM, one
// finding for each thing looked at, with a remedy for each that is not right.
// Pure: facts in, findings out.

#ifndef HOST_UPDATE_PREFLIGHT_H_
#define HOST_UPDATE_PREFLIGHT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "host_update/host_facts.h"
#include "host_update/hypervisor.h"
#include "host_update/report/report.pb.h"
#include "loader/target_kernel.h"

namespace live_update {

using loader::TargetKernel;

// Where a block of guest RAM lies; read from its descriptor.
struct RamPlace {
  uint64_t device = 0;  // st_dev
  uint64_t links = 0;   // Names it has; 0: its last one is gone.
  bool dax = false;     // The file is the memory (STATX_ATTR_DAX).
};

// One VM as the hypervisor told of it.
struct ExaminedVm {
  VmInfo info;
  absl::StatusOr<VmFacts> facts = absl::UnknownError("not examined");
  // One for each of facts->ram, in order; an error for private memory.
  std::vector<absl::StatusOr<RamPlace>> places;
};

// Puts one together; looks up where the RAM lies.
ExaminedVm MakeExaminedVm(VmInfo info, absl::StatusOr<VmFacts> facts);

struct PreflightInput {
  const HostFacts& host;
  const absl::StatusOr<HypervisorVersions>& versions;
  // All VMs that the hypervisor knows. Those that are off need no facts.
  absl::Span<const ExaminedVm> vms;
  // Null: no kernel was asked for, only the host and its VMs are checked.
  const TargetKernel* target = nullptr;
  // What the handover needs of preserved memory.
  uint64_t state_area_bytes = 0;
  // An earlier update was cut off and is not undone.
  bool update_interrupted = false;
};

// Findings in the order host, target, VMs. `go` if none is an ERROR. Codes are
// stable; an operator's scripts know them:
//
//   host    HOST_ROOT UPDATE_INTERRUPTED LIBVIRT_VERSION QEMU_VERSION
//           DAX_MOUNTED DAX_RANGE DAX_SPACE KEXEC_ALLOWED KERNEL_STAGED
//           CLOCK_TSC HOST_MEMORY VMS
//   target  TARGET_KERNEL TARGET_INITRD TARGET_CMDLINE TARGET_KVM TARGET_DAX
//   VM      VM_STATE VM_EXAMINED VM_QEMU_VERSION MACHINE_TYPE RAM_NOT_SHARED
//           RAM_NOT_PRESERVABLE RAM_PRESERVABLE AUX_RAM_SHARE QEMU_BLOCKED
//           UNSUPPORTED_DEVICE BLOCK_JOB BRIDGE_PRESENT
CheckReport Evaluate(const PreflightInput& input);

}  // namespace live_update

#endif  // HOST_UPDATE_PREFLIGHT_H_
