// The verdict before anything is touched: host, target kernel and each VM, one
// finding for each thing looked at, with a remedy for each that is not right.
// Pure: facts in, findings out.

#ifndef HOST_UPDATE_PREFLIGHT_H_
#define HOST_UPDATE_PREFLIGHT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "host_update/backend.h"
#include "host_update/host_facts.h"
#include "host_update/hypervisor.h"
#include "host_update/report/report.pb.h"
#include "loader/kexec.h"
#include "loader/target_kernel.h"

namespace live_update {

using loader::TargetKernel;

// Where a block of guest RAM lies; read from its descriptor.
struct RamPlace {
  uint64_t device = 0;  // st_dev
  uint64_t links = 0;   // Names it has; 0: its last one is gone.
  bool dax = false;     // The file is the memory (STATX_ATTR_DAX).
  bool shmem = false;   // A memfd or a file of a tmpfs; not of hugetlbfs.
};

// One VM as the hypervisor told of it.
struct ExaminedVm {
  VmInfo info;
  absl::StatusOr<VmFacts> facts = absl::UnknownError("not examined");
  // One for each of facts->ram, in order; an error for private memory.
  std::vector<absl::StatusOr<RamPlace>> places;
  // As Hypervisor::CheckInstalledQemu has it.
  absl::Status installed_qemu;
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
  // Names of VMs that an earlier update carried over and that wait to be
  // restored; an error: it can't be found out.
  absl::StatusOr<std::vector<std::string>> unrestored_vms =
      std::vector<std::string>();
  Backend backend = Backend::kDax;
  // Executables in the folders of hooks that must not be run; a line each.
  absl::Span<const std::string> refused_hooks;
  // Codes whose errors the operator takes upon himself (see kOverridable).
  absl::Span<const std::string> overrides;
  // The loader's own jump is asked for.
  std::optional<loader::DirectEntry> direct_jump;
};

// Errors that may cost something, but lose no VM for certain: its memory and
// state stay where they are, and a retry in the new kernel can bring it back.
//
//   HOST_MEMORY     kernel and initrd are loaded or refused before the pause
//   TARGET_INITRD   the kernel may find what it needs without it
//   TARGET_KVM      the module may come from elsewhere, or be installed later
//   TARGET_CPU      the guests may not use what it lacks
//   BLOCK_JOB       the job is lost, not the VM
//   BRIDGE_PRESENT  the bridge may be made at boot
//
// No other error can be overridden: each is a VM lost (no memmap=, other ABI
// strings, no LUO, private RAM, a broken kernel), or an update that can't work.
inline constexpr absl::string_view kOverridable[] = {
    "HOST_MEMORY", "TARGET_INITRD", "TARGET_KVM",
    "TARGET_CPU",  "BLOCK_JOB",     "BRIDGE_PRESENT"};

// Whether errors of `code` can be overridden. kInvalidArgument: no, with those
// that can.
absl::Status CheckOverride(absl::string_view code);

// Findings in the order host, target, VMs. `go` if none is an ERROR. An ERROR
// that is overridden is a WARNING, and says so. Codes are stable; an operator's
// scripts know them:
//
//   host    HOST_ROOT UPDATE_INTERRUPTED UNRESTORED_VMS LIBVIRT_VERSION
//           QEMU_VERSION KEXEC_ALLOWED KERNEL_STAGED CLOCK_TSC WATCHDOG
//           HOST_MEMORY HOOKS VMS
//     dax   DAX_MOUNTED DAX_RANGE DAX_SPACE
//     luo   LUO_DEVICE LUO_ENABLED SHMEM_THP
//   target  TARGET_KERNEL TARGET_INITRD TARGET_CMDLINE TARGET_KVM
//           TARGET_ARCH TARGET_CRASH_ONLY TARGET_CPU (these only as errors)
//           DIRECT_JUMP (if it is asked for)
//     dax   TARGET_DAX
//     luo   TARGET_LUO TARGET_LUO_ABI TARGET_LUO_CMDLINE
//     directory  TARGET_BACKEND (only as an error)
//   VM      VM_STATE VM_EXAMINED VM_QEMU_VERSION MACHINE_TYPE
//           VM_QEMU_INSTALLED RAM_NOT_SHARED RAM_NOT_PRESERVABLE
//           RAM_PRESERVABLE AUX_RAM_SHARE QEMU_BLOCKED UNSUPPORTED_DEVICE
//           BLOCK_JOB BRIDGE_PRESENT
//     luo   RAM_HUGE_PAGES
CheckReport Evaluate(const PreflightInput& input);

}  // namespace live_update

#endif  // HOST_UPDATE_PREFLIGHT_H_
