// What went wrong, as an operator is told.

#ifndef HOST_UPDATE_CTL_ERROR_H_
#define HOST_UPDATE_CTL_ERROR_H_

#include <string>

#include "host_update/cli/exit_code.h"

namespace live_update::ctl {

struct Error {
  ExitCode exit_code = ExitCode::kFailedUnharmed;
  std::string code;     // Stable, upper case: "BUSY".
  std::string message;  // What failed.
  std::string remedy;   // The next command.
  std::string vms_now;  // What it means for the VMs at this moment.
  // The daemon is away or going away: the same call may succeed later.
  bool transient = false;
};

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_ERROR_H_
