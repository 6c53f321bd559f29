// check: everything that can be known before anything is touched.

#ifndef HOST_UPDATE_CHECK_H_
#define HOST_UPDATE_CHECK_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/early_init/steps.h"
#include "host_update/host_facts.h"
#include "host_update/hypervisor.h"
#include "host_update/policy.h"
#include "host_update/preflight.h"
#include "host_update/report/report.pb.h"
#include "host_update/watchdog_device.h"
#include "host_update/ways.h"
#include "loader/kexec.h"
#include "loader/target_kernel.h"

namespace live_update {

// The kernel to go to. Empty paths: check the host and its VMs alone.
struct UpdateRequest {
  std::string kernel_path;
  std::string initrd_path;
  std::string append;  // Added to the running kernel's command line.
  uint64_t state_bytes_per_vm = uint64_t{48} << 20;  // Reserved for each VM.
  std::string backend = "dax";         // As ParseBackend() takes it.
  std::vector<std::string> overrides;  // Codes of findings; CheckOverride'd.
  std::string update_id;  // Of the update; empty: a new one is made up.
  std::string plan_hash;  // UpdatePlan.plan_hash that it must have; empty: any.
  double max_blackout_s = 0;  // Refused if predicted to take longer; 0: never.
  bool early_restore = true;  // VMs come back before the ordinary boot.
  bool early_root = true;  // … without the target's initramfs, if that can be.
  bool rescue = false;  // A crash of the new kernel leads back into this one.
  double rescue_watchdog_s = 360;   // So does a hang for so long; 0: not.
  std::string watchdog;             // Guards the jump; empty: none.
  double watchdog_timeout_s = 480;  // Until it resets the host.
  bool prepare_only = false;        // Take all back once VMs could be paused.
  bool leave_guest_clocks = false;  // Guests' wall clocks are not set.
  WayByVm ways;                     // Go before metadata and policy file.
  std::string direct_jump;  // As DecideDirectJump() takes it; empty: by policy.
};

// What the check saw, for the steps after it.
struct CheckedHost {
  CheckReport report;
  HostFacts host;
  std::vector<VmInfo> all_vms;  // Running or not.
  std::vector<VmFacts> vms;     // Those that would be carried in place.
  std::vector<VmWay> ways;      // Of all that are not off.
  loader::TargetKernel target;  // Meaningful if a kernel was asked for.
  std::optional<loader::DirectEntry> direct_jump;  // Unset: kexec_file_load.
  absl::StatusOr<WatchdogFacts> watchdog = absl::NotFoundError("none");
  std::optional<EarlySteps> early_root;  // Unset: the initramfs finds the root.
};

// Looks at the host, the target kernel and all VMs, and changes nothing.
// kUnavailable: the hypervisor can't be reached; kInvalidArgument: there is no
// such backend.
absl::StatusOr<CheckedHost> CheckHost(const UpdateRequest& request,
                                      const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_CHECK_H_
