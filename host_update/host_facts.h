// What preflight and the reports want to know of the host, read at one time.

#ifndef HOST_UPDATE_HOST_FACTS_H_
#define HOST_UPDATE_HOST_FACTS_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/early_init/steps.h"
#include "host_update/preserved_mount.h"
#include "loader/linux_kexec.h"
#include "loader/memory_map.h"
#include "loader/running_kernel.h"

namespace live_update {

// The kernel's Live Update Orchestrator, as far as it can be seen without
// opening its device: the first open takes over what an earlier kernel left.
struct LuoFacts {
  bool device = false;     // /dev/liveupdate is there.
  std::string holder;      // "systemd (1)" has it open; it takes one at a time.
  std::string shmem_huge;  // Huge pages for memfds: "never", "advise", …
};

// A watchdog that resets the host if nobody feeds it.
struct HostWatchdog {
  std::string name;      // "watchdog0"
  std::string identity;  // "iTCO_wdt"
  uint64_t timeout_s = 0;
};

struct HostFacts {
  std::string kernel_release;  // uname -r
  std::string boot_id;
  std::string machine_id;
  std::string command_line;  // /proc/cmdline, without its newline.

  bool is_root = false;
  bool has_cap_sys_boot = false;

  absl::StatusOr<loader::MemoryMap> memory_map = absl::UnknownError("not read");
  absl::StatusOr<PreservedMount> preserved = absl::UnknownError("not read");
  absl::StatusOr<bool> kernel_staged = absl::UnknownError("not read");
  loader::KexecPolicy kexec_policy;
  std::optional<bool> secure_boot;  // Unset: not an EFI host.

  uint64_t memory_available_bytes = 0;  // MemAvailable
  std::string cpu_vendor;               // "GenuineIntel", "AuthenticAMD"
  std::set<std::string> cpu_flags;      // Of /proc/cpuinfo.

  std::string clocksource;  // "tsc"

  std::set<std::string> network_interfaces;

  std::vector<HostWatchdog> watchdogs;  // Those that count.

  bool early_restore_installed = false;  // Its systemd target is there.
  // As PlanEarlyRoot() returns it.
  absl::StatusOr<EarlySteps> early_root = absl::UnknownError("not read");

  // Read only if asked for: it takes a second.
  LuoFacts luo;
  absl::StatusOr<loader::RunningKernel> running_kernel =
      absl::UnknownError("not read");
};

struct HostFactsOptions {
  std::string root;  // Before /proc, /sys and /etc; "" but in tests.
  std::string
      preserved_directory;  // In the DAX file system. Also below `root`.
  bool luo = false;         // Also what only the backend "luo" needs.
  // Only what tells this host and its boot: all that a restore asks, with VMs
  // waiting. The rest is as it was made.
  bool identity_only = false;
};

// Reads everything. What has its own StatusOr, or may be unset, does not fail
// the whole; an error names the file that a host cannot be without.
absl::StatusOr<HostFacts> CollectHostFacts(const HostFactsOptions& options);

}  // namespace live_update

#endif  // HOST_UPDATE_HOST_FACTS_H_
