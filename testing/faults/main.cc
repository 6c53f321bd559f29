// host-update with one armed fault (fault.h), for the lab.

#include <cstdlib>
#include <optional>

#include "base/log.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/program.h"
#include "testing/faults/fault.h"
#include "testing/faults/fault_injector.h"
#include "testing/faults/faulty_dependencies.h"

int main(int argc, char** argv) {
  namespace faults = live_update::testing;
  const char* text = std::getenv("HOST_UPDATE_FAULT");
  const absl::StatusOr<faults::Fault> fault =
      faults::ParseFault(text == nullptr ? "" : text);
  if (!fault.ok()) {
    live_update::LogError(fault.status().message());
    return static_cast<int>(live_update::ExitCode::kUsage);
  }
  faults::FaultInjector injector(*fault, faults::RealEffects());
  std::optional<faults::FaultySeams> seams;
  return live_update::RunProgram(
      argc, argv,
      [&](live_update::Dependencies& deps) { seams.emplace(deps, &injector); });
}
