// The sub-commands: each asks the daemon, prints, and says how it went. No
// decision about VMs is made here.

#ifndef HOST_UPDATE_CTL_COMMANDS_H_
#define HOST_UPDATE_CTL_COMMANDS_H_

#include "host_update/ctl/console.h"
#include "host_update/ctl/options.h"

namespace live_update::ctl {

// Returns the exit status: an ExitCode, or that of the operation.
int RunCommand(const Options& options, const Console& console);

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_COMMANDS_H_
