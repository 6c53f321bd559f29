#include <cstdlib>

#include "base/log.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/program.h"

int main(int argc, char** argv) {
  // Who sets it means the test build, and would take this one for a host that
  // stands every fault.
  if (std::getenv("HOST_UPDATE_FAULT") != nullptr) {
    live_update::LogError(
        "HOST_UPDATE_FAULT is set, but this is no test build and has no "
        "faults: unset it");
    return static_cast<int>(live_update::ExitCode::kUsage);
  }
  return live_update::RunProgram(argc, argv);
}
