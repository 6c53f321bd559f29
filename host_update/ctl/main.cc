#include <signal.h>

#include <cstdlib>
#include <variant>

#include "host_update/ctl/commands.h"
#include "host_update/ctl/console.h"
#include "host_update/ctl/options.h"

int main(int argc, char** argv) {
  using live_update::ctl::Options;
  const std::variant<Options, int> parsed =
      live_update::ctl::ParseOptions(argc, argv);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  signal(SIGPIPE, SIG_IGN);
  // What gRPC logs of a daemon that is away says less than our own error.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  return live_update::ctl::RunCommand(std::get<Options>(parsed),
                                      live_update::ctl::SystemConsole());
}
