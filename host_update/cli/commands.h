// The sub-commands: each asks the library, prints, and says how it went. No
// decision about VMs is made here.

#ifndef HOST_UPDATE_CLI_COMMANDS_H_
#define HOST_UPDATE_CLI_COMMANDS_H_

#include "host_update/cli/exit_code.h"
#include "host_update/cli/options.h"
#include "host_update/cli/output.h"
#include "host_update/dependencies.h"

namespace live_update {

// `first_line` is when the program began.
ExitCode RunCommand(const Options& options, const ClockSample& first_line,
                    const Dependencies& deps, Output& output);

// Says `status` in the log and to `output`; returns `code`.
ExitCode Fail(const absl::Status& status, ExitCode code, Output& output);

// How `status` exits where nothing more is known about it.
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_COMMANDS_H_
