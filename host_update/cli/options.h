// The command line as a value.

#ifndef HOST_UPDATE_CLI_OPTIONS_H_
#define HOST_UPDATE_CLI_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "host_update/check.h"
#include "host_update/dependencies.h"

namespace live_update {

enum class Command {
  kCheck,
  kUpdate,
  kPrepare,
  kRestore,
  kStatus,
  kAbort,
  kReport,
  kEnable,
  kRestartVmm,
  kLibvirtHook,
  kWorker,
};

struct Options {
  Command command = Command::kStatus;
  bool json = false;
  std::string dax_dir = "/var/lib/host-update/ram";
  std::string connect_uri = "qemu:///system";
  TimeLimits limits;
  std::string handover_key;  // A file; empty: maybe a credential has it.
  uint32_t handover_version = kHandoverVersion;  // update
  RamCoverage verify_ram = RamCoverage::kSample;

  UpdateRequest request;        // check, prepare, update
  bool no_initrd = false;       // check, update: none is meant to be there.
  bool dry_run = false;         // update, enable
  std::string retry_vm;         // restore
  std::string discard_vm;       // restore
  bool restore_again = false;   // restore: even if it came to no end before.
  bool hold_autostart = false;  // restore
  bool arm_rescue = false;      // restore
  std::string report_id;        // report
  std::string enable_vm;        // enable
  bool undo = false;            // enable
  std::vector<std::string> restart_vms;  // restart-vmm; empty: all.
  bool rehearsal = false;                // restart-vmm: it was asked for by
                                         // check --rehearse.
  // libvirt-hook: domain, operation, sub-operation, extra; as libvirt has them.
  std::vector<std::string> hook_arguments;
};

// The options, or the exit status with which to end at once (after --help,
// --version or a usage error, which it has printed).
std::variant<Options, int> ParseOptions(int argc, char** argv);

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_OPTIONS_H_
