// host-update with one armed fault (fault.h), for lab scenarios.

#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/program.h"
#include "host_update/phase.h"
#include "testing/faults/fault.h"
#include "testing/faults/faulty_hypervisor.h"

int main(int argc, char** argv) {
  using live_update::Dependencies;
  using live_update::Phase;
  using live_update::testing::Fault;
  using live_update::testing::FaultyHypervisor;
  using live_update::testing::MeetFault;

  const char* text = std::getenv("HOST_UPDATE_FAULT");
  const absl::StatusOr<Fault> fault =
      live_update::testing::ParseFault(text == nullptr ? "" : text);
  if (!fault.ok()) {
    live_update::LogError(fault.status().message());
    return static_cast<int>(live_update::ExitCode::kUsage);
  }
  std::unique_ptr<FaultyHypervisor> hypervisor;
  return live_update::RunProgram(argc, argv, [&](Dependencies& deps) {
    if (deps.hypervisor != nullptr) {
      hypervisor = std::make_unique<FaultyHypervisor>(deps.hypervisor, *fault);
      deps.hypervisor = hypervisor.get();
    }
    deps.entered = [&fault, inner = deps.entered](Phase phase) {
      const absl::Status status =
          MeetFault(*fault, PhaseName(phase), absl::InfiniteFuture());
      return status.ok() ? inner(phase) : status;
    };
  });
}
