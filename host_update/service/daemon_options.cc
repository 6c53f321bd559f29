#include "host_update/service/daemon_options.h"

#include "CLI/CLI.hpp"
#include "host_update/cli/exit_code.h"
#include "host_update/version.h"

namespace live_update {

std::variant<DaemonOptions, int> ParseDaemonOptions(int argc, char** argv) {
  DaemonOptions options;
  CLI::App app{
      "The live-update service: answers hostupdatectl and management stacks.",
      "hostupdated"};
  app.set_version_flag("--version", std::string("hostupdated ") + kVersion);
  app.add_option("--worker-socket", options.worker_socket,
                 "Where a connection starts a worker")
      ->capture_default_str();
  app.add_option("--operations-dir", options.operations_dir,
                 "Where operations are kept")
      ->capture_default_str();
  app.add_option("--admin-group", options.group,
                 "Whose members may do more than look")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return options;
}

}  // namespace live_update
