// The command line as a value.

#ifndef HOST_UPDATE_CTL_OPTIONS_H_
#define HOST_UPDATE_CTL_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "host_update/policy.h"
#include "host_update/version.h"

namespace live_update::ctl {

inline constexpr char kManageSocket[] = "/run/host-update/api.sock";
inline constexpr char kReadSocket[] = "/run/host-update/api-ro.sock";

enum class Command {
  kStatus,
  kCheck,
  kPlan,
  kPrepare,
  kUpdate,
  kAbort,
  kWatch,
  kVms,
  kHistory,
  kReport,
  kRecover,
  kFinish,
  kEnable,
  kRestartVmm,
  kRollback,
  kVersion,
};

struct Options {
  Command command = Command::kStatus;
  bool json = false;
  bool quiet = false;
  std::string socket;  // Never empty once parsed.
  // Of one call; of commands that follow an operation, of all of it. Absent:
  // their defaults.
  std::optional<absl::Duration> timeout;

  std::string kernel;                  // check, plan, update
  std::string initrd;                  // check, plan, update
  bool no_initrd = false;              // check, plan, update
  std::string append;                  // check, plan, update, rollback
  std::vector<std::string> overrides;  // check, plan, update, rollback
  WayByVm ways;                        // check, plan, update, rollback
  std::string plan_hash;               // update, rollback
  double max_blackout_s = 0;           // update, rollback; 0: no limit.
  std::string reason;                  // what begins or ends an operation
  std::string request_id;              // what begins an operation
  bool no_wait = false;                // what begins an operation
  bool yes = false;                    // what asks before it begins
  std::string id;                      // watch, report; empty: the last one.
  bool undo = false;                   // enable
  bool dry_run = false;                // enable
  std::string vm;                      // recover, finish; empty: all.
  std::vector<std::string> vms;        // restart-vmm; empty: all.
  std::string rehearse_vm;             // check; empty: none.
  uint32_t limit = 0;                  // history; 0: the daemon's default.
};

// The options, or the exit status with which to end at once (after --help,
// --version, `completion` or a usage error, which it has printed).
std::variant<Options, int> ParseOptions(int argc, char** argv);

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_OPTIONS_H_
