#include "host_update/cli/program.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/cli/commands.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/libvirt_hook.h"
#include "host_update/cli/next_kernel.h"
#include "host_update/cli/operator_key.h"
#include "host_update/cli/options.h"
#include "host_update/cli/output.h"
#include "host_update/clock.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/host_facts.h"
#include "host_update/libvirt/libvirt_hypervisor.h"
#include "host_update/policy.h"
#include "host_update/restore.h"
#include "host_update/worker/worker_request.h"
#include "host_update/worker/worker_session.h"
#include "loader/crash_kexec.h"
#include "loader/linux_kexec.h"
#include "loader/reader_process.h"
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
      absl::StrCat("asked to stop, on entering ", PhaseName(phase)));
}

// `restore` in earnest, not what its units do before it.
bool RestoresVms(const Options& options) {
  return options.command == Command::kRestore && !options.hold_autostart &&
         !options.arm_rescue;
}

bool NeedsHypervisor(const Options& options) {
  switch (options.command) {
    case Command::kReport:
      return false;
    case Command::kRestore:
      return RestoresVms(options);
    default:
      return true;
  }
}

// VMs that wait to be restored are worth waiting for libvirt.
absl::StatusOr<std::unique_ptr<Hypervisor>> Connect(const Options& options,
                                                    const Dependencies& deps) {
  if (options.command != Command::kRestore) {
    return ConnectToLibvirt(options.connect_uri,
                            absl::Now() + deps.limits.call);
  }
  // What is wrong with preserved memory, the command itself tells.
  const bool vms_wait = VmsWait(deps).value_or(true);
  return (vms_wait ? WaitForLibvirt : ConnectToLibvirt)(
      options.connect_uri, absl::Now() + deps.limits.first_answer, {});
}

// Reads the operator's key, if this command looks at handovers, and takes over
// what else was said about them.
absl::Status SetHandover(const Options& options, HandoverSettings& handover) {
  handover.version = options.handover_version;
  handover.verify_ram = options.verify_ram;
  const bool reads_or_writes_one = options.command == Command::kUpdate ||
                                   options.command == Command::kPrepare ||
                                   options.command == Command::kRestartVmm ||
                                   options.command == Command::kAbort ||
                                   RestoresVms(options);
  if (!reads_or_writes_one) return absl::OkStatus();
  LU_ASSIGN_OR_RETURN(
      handover.key,
      LoadOperatorKey(options.handover_key, getenv("CREDENTIALS_DIRECTORY")));
  return CheckWritable(handover.version, handover.key != nullptr);
}

absl::StatusOr<std::unique_ptr<PreservedMemory>> OpenMemory(
    const Options& options) {
  // Before its file system may be mounted.
  if (options.arm_rescue) return nullptr;
  if (options.request.backend == "luo") return LuoMemory::Open({});
  return DaxMemory::Open({.mount = options.dax_dir});
}

using Adjust = std::function<void(Dependencies&)>;

// From options to the command, with what it needs of this host.
ExitCode Run(const Options& options, const ClockSample& first_line,
             Clock& clock, const Adjust& adjust, Output& output) {
  Dependencies deps;
  deps.clock = &clock;
  deps.limits = options.limits;
  LinuxWatchdogDevice watchdog;
  deps.watchdog = &watchdog;
  // A restore that comes to an end, whichever, does not hang.
  const absl::Cleanup stop_watchdog = [&options, &deps] {
    if (!RestoresVms(options)) return;
    const absl::Status status = StopHardwareWatchdog(deps);
    if (!status.ok()) LogError(status.message());
  };
  if (RestoresVms(options)) FeedHardwareWatchdog(deps);
  deps.sync = [] { sync(); };
  deps.entered = [&output](Phase phase) {
    output.Entered(phase);
    return StopIfAsked(phase);
  };
  deps.stop_asked = [] { return stop_asked.load(); };
  deps.expect_kernel = [state_dir =
                            deps.paths.state_dir](const std::string& kernel) {
    ExpectKernel(kernel, state_dir);
  };
  deps.host_facts = [&options] {
    return CollectHostFacts(
        {.root = "",
         .preserved_directory = options.dax_dir,
         .luo = options.request.backend == "luo",
         .identity_only = options.command == Command::kRestore});
  };
  deps.read_target = [](const loader::TargetRequest& request) {
    return loader::ReadTargetKernel(request, loader::ReadKernelApart);
  };
  // One that can't be read is told of by the check, and keeps no VM from being
  // restored.
  const absl::StatusOr<Policy> policy = ReadPolicy(deps.paths.policy_file);
  if (!policy.ok()) {
    LogWarning(policy.status().message());
  } else if (policy->parallelism() != 0) {
    deps.parallelism = policy->parallelism();
  }
  if (absl::Status status = SetHandover(options, deps.handover); !status.ok()) {
    return Fail(
        status,
        absl::IsInvalidArgument(status) ? ExitCode::kUsage : ExitCodeOf(status),
        output);
  }
  loader::LinuxKexec kexec;
  deps.kexec = &kexec;
  loader::LinuxCrashKexec crash_kexec;
  deps.crash_kexec = &crash_kexec;

  const absl::StatusOr<std::unique_ptr<PreservedMemory>> memory =
      OpenMemory(options);
  if (!memory.ok() && options.command != Command::kCheck &&
      options.command != Command::kReport &&
      options.command != Command::kEnable) {
    return Fail(memory.status(),
                absl::IsNotFound(memory.status()) ? ExitCode::kNothingToDo
                                                  : ExitCodeOf(memory.status()),
                output);
  }
  if (memory.ok()) deps.memory = memory->get();

  std::unique_ptr<Hypervisor> hypervisor;
  if (NeedsHypervisor(options)) {
    absl::StatusOr<std::unique_ptr<Hypervisor>> connected =
        Connect(options, deps);
    if (!connected.ok()) {
      return Fail(connected.status(), ExitCode::kNoHypervisor, output);
    }
    hypervisor = *std::move(connected);
    deps.hypervisor = hypervisor.get();
  }
  if (adjust) adjust(deps);
  return RunCommand(options, first_line, deps, output);
}

// What the worker was asked for, or why it isn't done.
absl::StatusOr<Options> ReceiveOptions(const Options& options,
                                       WorkerSession& session) {
  LU_ASSIGN_OR_RETURN(const WorkerRequest request, session.ReadRequest());
  LU_ASSIGN_OR_RETURN(Options asked, OptionsOf(request, options));
  for (const std::string& path :
       {asked.request.kernel_path, asked.request.initrd_path}) {
    if (!path.empty()) LU_RETURN_IF_ERROR(CheckOwnedByRoot(path));
  }
  return asked;
}

ExitCode RunWorker(const Options& options, const ClockSample& first_line,
                   Clock& clock, const Adjust& adjust) {
  WorkerSession session(UniqueFd(dup(STDIN_FILENO)));
  const absl::StatusOr<Options> asked = ReceiveOptions(options, session);
  ExitCode code = ExitCode::kUsage;
  if (!asked.ok()) {
    code =
        Fail(asked.status(),
             absl::IsPermissionDenied(asked.status()) ? ExitCode::kNoPermission
                                                      : ExitCode::kUsage,
             session);
  } else {
    session.WatchForHangup([] { stop_asked = true; });
    code = Run(*asked, first_line, clock, adjust, session);
  }
  session.Finish(code);
  // The request is answered, whatever came out.
  return ExitCode::kOk;
}

}  // namespace

int RunProgram(int argc, char** argv, const Adjust& adjust) {
  if (argc == 2 &&
      argv[1] == absl::string_view(loader::kKernelReaderArgument)) {
    return loader::RunKernelReader();
  }
  const std::unique_ptr<Clock> clock = NewSystemClock();
  const ClockSample first_line = clock->Sample();
  std::variant<Options, int> parsed = ParseOptions(argc, argv);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const Options& options = std::get<Options>(parsed);
  HandleSignals();
  if (options.command == Command::kLibvirtHook) return RunLibvirtHook(options);
  if (options.command == Command::kWorker) {
    return static_cast<int>(RunWorker(options, first_line, *clock, adjust));
  }
  PrintedOutput output(options.json);
  return static_cast<int>(Run(options, first_line, *clock, adjust, output));
}

}  // namespace live_update
