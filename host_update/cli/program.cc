#include "host_update/cli/program.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/cli/commands.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/libvirt_hook.h"
#include "host_update/cli/operator_key.h"
#include "host_update/cli/options.h"
#include "host_update/clock.h"
#include "host_update/host_facts.h"
#include "host_update/libvirt/libvirt_hypervisor.h"
#include "loader/linux_kexec.h"
#include "loader/target_kernel.h"
#include "state_preserve/dax_memory.h"
#include "state_preserve/handover_writer.h"
#include "state_preserve/luo_memory.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {
namespace {

std::atomic<bool> stop_asked = false;

// An update that is asked to stop does so at the next phase, and takes itself
// back. A terminal that goes away doesn't stop it.
void HandleSignals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = true; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
}

absl::Status StopIfAsked(Phase phase) {
  if (!stop_asked) return absl::OkStatus();
  return absl::CancelledError(
      absl::StrCat("stopped by a signal on entering ", PhaseName(phase)));
}

bool NeedsHypervisor(const Options& options) {
  switch (options.command) {
    case Command::kReport:
      return false;
    case Command::kRestore:
      return !options.hold_autostart;
    default:
      return true;
  }
}

// Reads the operator's key, if this command looks at handovers, and takes over
// what else was said about them.
absl::Status SetHandover(const Options& options, HandoverSettings& handover) {
  handover.version = options.handover_version;
  handover.verify_ram = options.verify_ram;
  const bool reads_or_writes_one =
      options.command == Command::kUpdate ||
      (options.command == Command::kRestore && !options.hold_autostart);
  if (!reads_or_writes_one) return absl::OkStatus();
  LU_ASSIGN_OR_RETURN(
      handover.key,
      LoadOperatorKey(options.handover_key, getenv("CREDENTIALS_DIRECTORY")));
  return CheckWritable(handover.version, handover.key != nullptr);
}

absl::StatusOr<std::unique_ptr<PreservedMemory>> OpenMemory(
    const Options& options) {
  if (options.request.backend == "luo") return LuoMemory::Open({});
  return DaxMemory::Open({.mount = options.dax_dir});
}

int End(ExitCode code) { return static_cast<int>(code); }

}  // namespace

int RunProgram(int argc, char** argv,
               const std::function<void(Dependencies&)>& adjust) {
  const std::unique_ptr<Clock> clock = NewSystemClock();
  const ClockSample first_line = clock->Sample();
  std::variant<Options, int> parsed = ParseOptions(argc, argv);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const Options& options = std::get<Options>(parsed);
  HandleSignals();
  if (options.command == Command::kLibvirtHook) return RunLibvirtHook(options);

  Dependencies deps;
  deps.clock = clock.get();
  deps.limits = options.limits;
  deps.sync = [] { sync(); };
  deps.entered = StopIfAsked;
  deps.host_facts = [&options] {
    return CollectHostFacts({.root = "",
                             .preserved_directory = options.dax_dir,
                             .luo = options.request.backend == "luo"});
  };
  deps.read_target = loader::ReadTargetKernel;
  if (absl::Status status = SetHandover(options, deps.handover); !status.ok()) {
    LogError(status.message());
    return End(absl::IsInvalidArgument(status) ? ExitCode::kUsage
                                               : ExitCodeOf(status));
  }
  loader::LinuxKexec kexec;
  deps.kexec = &kexec;

  const absl::StatusOr<std::unique_ptr<PreservedMemory>> memory =
      OpenMemory(options);
  if (!memory.ok() && options.command != Command::kCheck &&
      options.command != Command::kReport) {
    LogError(memory.status().message());
    return End(absl::IsNotFound(memory.status()) ? ExitCode::kNothingToDo
                                                 : ExitCodeOf(memory.status()));
  }
  if (memory.ok()) deps.memory = memory->get();

  std::unique_ptr<Hypervisor> hypervisor;
  if (NeedsHypervisor(options)) {
    absl::StatusOr<std::unique_ptr<Hypervisor>> connected =
        ConnectToLibvirt(options.connect_uri, absl::Now() + deps.limits.call);
    if (!connected.ok()) {
      LogError(connected.status().message());
      return End(ExitCode::kNoHypervisor);
    }
    hypervisor = *std::move(connected);
    deps.hypervisor = hypervisor.get();
  }
  if (adjust) adjust(deps);
  return End(RunCommand(options, first_line, deps));
}

}  // namespace live_update
