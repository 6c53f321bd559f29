// An operation followed to its end, over broken connections.

#ifndef HOST_UPDATE_CTL_FOLLOW_H_
#define HOST_UPDATE_CTL_FOLLOW_H_

#include <string>

#include "absl/time/time.h"
#include "host_update/cli/exit_code.h"
#include "host_update/ctl/client.h"
#include "host_update/ctl/console.h"
#include "host_update/ctl/options.h"

namespace live_update::ctl {

// Tells how operation `id` goes on until it has ended, then prints its report.
// Where the connection breaks (a kexec, a restart of the daemon) it tries again
// until `deadline`, from the last event seen. Returns the operation's exit
// status, or kNoDaemon where it can't be known how it ended. The operation goes
// on whatever this returns.
int Follow(Client& client, const Options& options, const Console& console,
           const std::string& id, absl::Time deadline);

// As every error is told: for people, and with --json as an ErrorDetail as
// well, in one line. Returns error.exit_code.
int Fail(const Options& options, const Console& console, const Error& error);

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_FOLLOW_H_
