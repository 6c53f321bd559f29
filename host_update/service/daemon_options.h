// hostupdated's command line as a value.

#ifndef HOST_UPDATE_SERVICE_DAEMON_OPTIONS_H_
#define HOST_UPDATE_SERVICE_DAEMON_OPTIONS_H_

#include <string>
#include <variant>

namespace live_update {

struct DaemonOptions {
  std::string worker_socket = "/run/host-update/worker.sock";
  std::string operations_dir = "/var/lib/host-update/operations";
  std::string group = "host-update-admin";
};

// The options, or the exit status with which to end at once.
std::variant<DaemonOptions, int> ParseDaemonOptions(int argc, char** argv);

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_DAEMON_OPTIONS_H_
