#include "host_update/cli/options.h"

#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/override_option.h"
#include "host_update/preflight.h"
#include "host_update/version.h"

namespace live_update {
namespace {

constexpr char kConfigFile[] = "/etc/host-update.conf";

constexpr char kFooter[] =
    "Exit status: 0 done; 1 failed, VMs unharmed; 2 nothing to do; 3 no-go; "
    "4 libvirt not reached; 5 no permission; 6 a VM is not back; 7 aborted on "
    "request; 8 predicted to exceed --max-blackout; 9 busy; 64 usage.";

void AddTarget(CLI::App& command, Options& options, bool required) {
  UpdateRequest& request = options.request;
  command
      .add_option("--kernel", request.kernel_path,
                  "Kernel to go to (bzImage): /boot/vmlinuz-…")
      ->required(required);
  // One or the other, said aloud: a kernel that is left without its initrd
  // finds no root file system, and takes the VMs with it.
  auto* initrd = command.add_option_group("initrd");
  initrd->add_option("--initrd", request.initrd_path,
                     "Its initial RAM disk: /boot/initrd.img-…");
  initrd->add_flag("--no-initrd", options.no_initrd,
                   "It needs none: all it needs is built in");
  if (required) {
    initrd->require_option(1);
  } else {
    initrd->require_option(0, 1);
  }
  command.add_option(
      "--append", request.append,
      "Words to add to the running kernel's command line, which is repeated");
  command
      .add_flag("--direct-jump{vmlinux}", request.direct_jump,
                "Jump by the loader's own means, faster: no signature is "
                "checked. vmlinux (if no word follows): unpacked before the "
                "pause, no KASLR; bzimage; off. Else as the policy file says")
      ->check(CLI::IsMember({"vmlinux", "bzimage", "off"}));
  AddOverrideOption(command, request.overrides);
  AddWayOption(command, request.ways);
}

void AddSeconds(CLI::App& command, const std::string& name,
                absl::Duration& limit, const std::string& help) {
  command
      .add_option_function<double>(
          name,
          [&limit](const double& seconds) { limit = absl::Seconds(seconds); },
          help)
      ->check(CLI::Range(0.1, 3600.0))
      ->type_name("SECONDS")
      ->default_str(std::to_string(absl::ToInt64Seconds(limit)));
}

void AddVerifyRam(CLI::App& app, RamCoverage& coverage) {
  const std::map<std::string, RamCoverage> words = {
      {"none", RamCoverage::kNone},
      {"sample", RamCoverage::kSample},
      {"all", RamCoverage::kAll}};
  app.add_option_function<std::string>(
         "--verify-ram",
         [&coverage, words](const std::string& word) {
           coverage = words.at(word);
         },
         "Digest the VMs' RAM after the pause and compare it before they run "
         "on: some pages, all of it, or none; of restore, none: don't compare")
      ->check(CLI::IsMember({"sample", "all", "none"}))
      ->type_name("HOW MUCH")
      ->default_str("sample");
}

}  // namespace

std::variant<Options, int> ParseOptions(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Replaces this host's kernel under its running VMs: pauses them, keeps "
      "their memory in place over a kexec, and lets them run on.",
      "host-update"};
  app.set_version_flag("--version", std::string("host-update ") + kVersion);
  app.require_subcommand(1);
  app.footer(kFooter);
  app.fallthrough();
  app.add_flag("--json", options.json,
               "Print JSON (stable) in place of text for people");
  app.set_config("--config", kConfigFile,
                 "Where options that always hold are kept: \"backend = luo\"")
      ->capture_default_str();
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option("--backend", options.request.backend,
                 "What keeps the VMs' RAM: dax, a DAX file system on memory "
                 "kept by memmap=; luo, the kernel's Live Update Orchestrator")
      ->check(CLI::IsMember({"dax", "luo"}))
      ->capture_default_str();
  app.add_option("--dax-dir", options.dax_dir,
                 "Where the DAX file system with the VMs' RAM is mounted")
      ->capture_default_str();
  app.add_option("--handover-key", options.handover_key,
                 "File with the secret that authenticates handovers, 32 to "
                 "4096 bytes, mode 0600; else the systemd credential "
                 "handover-key, if there is one")
      ->type_name("FILE");
  AddVerifyRam(app, options.verify_ram);
  app.add_option_function<std::string>(
         "--first-boot",
         [&options](const std::string& word) {
           options.request.early_restore = word != "ordinary";
           options.request.early_root = word == "early";
         },
         "After the jump, bring VMs back before the rest of the host starts "
         "(early; early-initramfs: the target's own initramfs finds the root "
         "file system), or at the end of an ordinary boot")
      ->check(CLI::IsMember({"early", "early-initramfs", "ordinary"}))
      ->type_name("HOW")
      ->default_str("early");
  app.add_option_function<std::string>(
         "--rescue",
         [&options](const std::string& word) {
           options.request.rescue = word == "on";
         },
         "With dax: have the running kernel take over, and restore the VMs, "
         "should the new one crash before they run in it")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->default_str("off");
  app.add_option("--rescue-watchdog", options.request.rescue_watchdog_s,
                 "With --rescue on: have it also take over if the new kernel "
                 "hangs for so long before a VM runs in it; 0: not")
      ->check(CLI::IsMember({"0"}) | CLI::Range(30.0, 86400.0))
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--watchdog", options.request.watchdog,
                 "Hardware watchdog that resets the host should the new kernel "
                 "hang before VMs run in it")
      ->check(CLI::Validator(
          [](const std::string& path) {
            return path.rfind("/dev/watchdog", 0) == 0
                       ? ""
                       : "it has to be one of /dev/watchdog*";
          },
          "DEVICE"));
  app.add_option("--watchdog-timeout", options.request.watchdog_timeout_s,
                 "With --watchdog: after so long without a step of the update")
      ->check(CLI::Range(30.0, 3600.0))
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--connect", options.connect_uri, "libvirt's URI")
      ->capture_default_str();

  CLI::App* check = app.add_subcommand(
      "check",
      "Say whether this host and its VMs can be updated live, and what "
      "to do where not");
  AddTarget(*check, options, false);
  std::string rehearse_vm;
  check
      ->add_option("--rehearse", rehearse_vm,
                   "Also take this VM into a new QEMU, as restart-vmm does: it "
                   "stands still for a moment")
      ->excludes("--kernel")
      ->type_name("VM");

  CLI::App* update = app.add_subcommand(
      "update",
      "Go into another kernel with all VMs; does not return if all "
      "goes well");
  AddTarget(*update, options, true);
  update->add_flag("--dry-run", options.dry_run,
                   "Check and print the plan; change nothing");
  AddSeconds(*update, "--pause-timeout", options.limits.pause,
             "Longest wait for one VM to pause");
  AddSeconds(*update, "--save-timeout", options.limits.save,
             "Longest wait for one VM's state");
  AddSeconds(*update, "--sync-timeout", options.limits.sync,
             "Longest wait for file systems to be written out");
  update
      ->add_option("--plan", options.request.plan_hash,
                   "Only if the plan still has this hash")
      ->type_name("HASH");
  update
      ->add_option_function<std::string>(
          "--guest-clock",
          [&options](const std::string& word) {
            options.request.leave_guest_clocks = word == "leave";
          },
          "Set guests' wall clocks after the update, where an agent does it, "
          "or leave them behind by the blackout")
      ->check(CLI::IsMember({"set", "leave"}))
      ->type_name("HOW")
      ->default_str("set");
  update
      ->add_option("--max-blackout", options.request.max_blackout_s,
                   "Only if the blackout is predicted to be no longer")
      ->check(CLI::Range(0.0, 86400.0))
      ->type_name("SECONDS");
  update
      ->add_option("--handover-version", options.handover_version,
                   "Format of the handover, if the target's host-update is "
                   "older than this one")
      ->check(CLI::Range(kOldestHandoverVersion, kHandoverVersion))
      ->capture_default_str();
  update
      ->add_option_function<uint64_t>(
          "--state-mib-per-vm",
          [&options](const uint64_t& mib) {
            options.request.state_bytes_per_vm = mib << 20;
          },
          "Preserved memory to reserve for each VM's state")
      ->check(CLI::Range(1, 1024))
      ->default_str("48");

  CLI::App* prepare = app.add_subcommand(
      "prepare",
      "Do all that an update does before it pauses the first VM, and take it "
      "back: what would fail then fails now");
  AddTarget(*prepare, options, true);

  CLI::App* restore = app.add_subcommand(
      "restore",
      "Bring back the VMs that the last kernel handed over; run by "
      "host-update-restore.service at boot");
  auto* retry = restore->add_option("--retry", options.retry_vm,
                                    "Try again to restore this one VM");
  auto* discard = restore->add_option(
      "--discard", options.discard_vm,
      "Give this one VM's kept memory and state up, for good");
  auto* hold = restore->add_flag(
      "--hold-autostart", options.hold_autostart,
      "Only keep libvirtd from starting VMs that wait to be restored");
  auto* again = restore->add_flag(
      "--again", options.restore_again,
      "Try all of it even if two attempts have come to no end, after which the "
      "boot tries no more");
  auto* arm = restore->add_flag(
      "--arm-rescue", options.arm_rescue,
      "Only stage the kernel that takes over should this one crash before VMs "
      "run; run by host-update-rescue.service");
  retry->excludes(discard)->excludes(hold)->excludes(again)->excludes(arm);
  discard->excludes(hold)->excludes(again)->excludes(arm);
  hold->excludes(again)->excludes(arm);
  again->excludes(arm);
  AddSeconds(*restore, "--restore-timeout", options.limits.restore,
             "Longest wait for one VM to run again");

  CLI::App* status =
      app.add_subcommand("status", "Say how this host and its VMs stand");
  CLI::App* abort = app.add_subcommand(
      "abort", "Take back an update that was cut off before the kexec");
  CLI::App* report =
      app.add_subcommand("report", "Print the report of an update");
  report->add_option("id", options.report_id,
                     "Its id; the last update if absent");

  CLI::App* enable = app.add_subcommand(
      "enable",
      "Put what an update in place needs into a VM's persistent definition; "
      "holds from its next start");
  enable->add_option("vm", options.enable_vm, "Its name or UUID")->required();
  enable->add_flag("--undo", options.undo, "Change back what this changed");
  enable->add_flag("--dry-run", options.dry_run,
                   "Only print what would change");

  CLI::App* restart = app.add_subcommand(
      "restart-vmm",
      "Take VMs into new QEMU processes of the installed version, one after "
      "the other; each stands still for a moment");
  restart->add_option("vm", options.restart_vms,
                      "Names or UUIDs; all that run or are paused if absent");
  AddSeconds(*restart, "--pause-timeout", options.limits.pause,
             "Longest wait for one VM to pause");
  AddSeconds(*restart, "--save-timeout", options.limits.save,
             "Longest wait for one VM's state, and for its old QEMU to end");
  AddSeconds(*restart, "--restore-timeout", options.limits.restore,
             "Longest wait for one VM to run again");

  CLI::App* hook = app.add_subcommand(
      "libvirt-hook", "What /etc/libvirt/hooks/qemu.d/host-update calls");
  hook->add_option("arguments", options.hook_arguments)->expected(3, 4);
  hook->group("");  // Not for people.

  CLI::App* worker = app.add_subcommand(
      "worker", "Serve the one request that comes on standard input, a socket");
  worker->group("");  // Nor this.

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  if (check->parsed()) options.command = Command::kCheck;
  if (update->parsed()) options.command = Command::kUpdate;
  if (prepare->parsed()) options.command = Command::kPrepare;
  if (restore->parsed()) options.command = Command::kRestore;
  if (status->parsed()) options.command = Command::kStatus;
  if (abort->parsed()) options.command = Command::kAbort;
  if (report->parsed()) options.command = Command::kReport;
  if (enable->parsed()) options.command = Command::kEnable;
  if (restart->parsed()) options.command = Command::kRestartVmm;
  if (!rehearse_vm.empty()) {
    options.command = Command::kRestartVmm;
    options.restart_vms = {rehearse_vm};
    options.rehearsal = true;
  }
  if (hook->parsed()) options.command = Command::kLibvirtHook;
  if (worker->parsed()) options.command = Command::kWorker;
  return options;
}

}  // namespace live_update
