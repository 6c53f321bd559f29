#include "host_update/ctl/options.h"

#include <cctype>
#include <cstdio>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/override_option.h"
#include "host_update/ctl/completion.h"

namespace live_update::ctl {
namespace {

constexpr char kFooter[] =
    "Exit status: 0 done; 1 failed, VMs unharmed; 2 nothing to do; 3 no-go; "
    "4 daemon not reached, or it did not say how it went; 5 no permission; 6 a "
    "VM is not back; 7 aborted on request; 8 over the blackout budget; 9 busy; "
    "64 usage.";

// Limits of the API (host_update.proto).
constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxReasonBytes = 1024;
constexpr size_t kMaxRequestIdBytes = 64;

// CLI11's validators: the error, or empty.
std::string CheckPath(const std::string& path) {
  if (path.empty() || path[0] != '/' || path.size() > kMaxPathBytes) {
    return "must be an absolute path on the host";
  }
  return "";
}

std::string CheckReason(const std::string& reason) {
  return reason.size() > kMaxReasonBytes
             ? absl::StrCat("is longer than ", kMaxReasonBytes, " bytes")
             : "";
}

std::string CheckRequestId(const std::string& id) {
  bool good = !id.empty() && id.size() <= kMaxRequestIdBytes;
  for (const unsigned char c : id) good = good && (isalnum(c) || c == '-');
  return good ? ""
              : absl::StrCat("must be at most ", kMaxRequestIdBytes,
                             " of [A-Za-z0-9-]");
}

void AddTarget(CLI::App& command, Options& options, bool required) {
  auto* kernel = command
                     .add_option("--kernel", options.kernel,
                                 "Kernel to go to (bzImage): /boot/vmlinuz-…")
                     ->required(required)
                     ->check(CheckPath)
                     ->type_name("FILE");
  // One or the other, said aloud: a kernel that is left without its initrd
  // finds no root file system, and takes the VMs with it.
  auto* group = command.add_option_group("initrd");
  auto* initrd = group
                     ->add_option("--initrd", options.initrd,
                                  "Its initial RAM disk: /boot/initrd.img-…")
                     ->check(CheckPath)
                     ->type_name("FILE");
  auto* no_initrd = group->add_flag("--no-initrd", options.no_initrd,
                                    "It needs none: all it needs is built in");
  if (required) {
    group->require_option(1);
  } else {
    group->require_option(0, 1);
    initrd->needs(kernel);
    no_initrd->needs(kernel);
  }
}

CLI::Option* AddAppend(CLI::App& command, Options& options) {
  return command
      .add_option("--append", options.append,
                  "Words to add to the running kernel's command line, which is "
                  "repeated")
      ->type_name("WORDS");
}

void AddReason(CLI::App& command, Options& options) {
  command.add_option("--reason", options.reason, "Why; for the audit record")
      ->check(CheckReason)
      ->type_name("TEXT");
}

// Of what begins an operation.
void AddBegin(CLI::App& command, Options& options) {
  AddReason(command, options);
  command
      .add_option("--request-id", options.request_id,
                  "The same id again begins nothing new, but follows the same "
                  "operation")
      ->check(CheckRequestId)
      ->type_name("ID");
  command.add_flag("--no-wait", options.no_wait,
                   "Print the operation's id and do not follow it");
}

void AddYes(CLI::App& command, Options& options) {
  command.add_flag("--yes", options.yes,
                   "Do not ask; needed where there is no terminal");
}

// Of what begins an update, and of what tries to.
void AddConditions(CLI::App& command, Options& options) {
  AddOverrideOption(command, options.overrides);
  AddWayOption(command, options.ways);
  command
      .add_option("--plan", options.plan_hash,
                  "Only if the host is as it was when this was planned")
      ->type_name("HASH");
  command
      .add_option("--max-blackout", options.max_blackout_s,
                  "Refuse if VMs are predicted to stand still for longer")
      ->check(CLI::Range(0.1, 86400.0))
      ->type_name("SECONDS");
  AddBegin(command, options);
}

// Whether the socket for reads answers what `command` asks.
bool OnlyReads(Command command) {
  switch (command) {
    case Command::kStatus:
    case Command::kWatch:
    case Command::kVms:
    case Command::kHistory:
    case Command::kReport:
    case Command::kVersion:
      return true;
    default:
      return false;
  }
}

// Global options; they may stand after the command as well.
void AddGlobal(CLI::App& app, Options& options) {
  app.set_version_flag("--version", absl::StrCat("hostupdatectl ", kVersion));
  app.require_subcommand(1);
  app.footer(kFooter);
  app.fallthrough();
  app.add_flag("--json", options.json,
               "Print JSON (stable) in place of text for people");
  app.add_flag("--quiet", options.quiet,
               "Print no progress, and no text but errors");
  app.add_option(
         "--socket", options.socket,
         absl::StrCat("Where hostupdated listens; default ", kManageSocket,
                      ", and ", kReadSocket, " for what only reads"))
      ->type_name("FILE");
  app.add_option_function<double>(
         "--timeout",
         [&options](const double& seconds) {
           options.timeout = absl::Seconds(seconds);
         },
         "Longest wait for an answer; default 60, and 1800 for an operation "
         "that is followed to its end")
      ->check(CLI::Range(0.1, 86400.0))
      ->type_name("SECONDS");
}

using Commands = std::map<const CLI::App*, Command>;

void AddCommands(CLI::App& app, Options& options, Commands& commands) {
  const auto add = [&](Command command, const char* name, const char* help) {
    CLI::App* added = app.add_subcommand(name, help);
    commands[added] = command;
    return added;
  };
  add(Command::kStatus, "status", "Say how this host and its VMs stand");
  CLI::App* check =
      add(Command::kCheck, "check",
          "Say whether this host and its VMs can be updated live, and what to "
          "do where not; with --kernel, whether into that kernel");
  AddTarget(*check, options, false);
  AddAppend(*check, options)->needs("--kernel");
  AddOverrideOption(*check, options.overrides);
  AddWayOption(*check, options.ways);
  check
      ->add_option("--rehearse", options.rehearse_vm,
                   "Then take this VM into a new QEMU, as restart-vmm does: "
                   "the cheapest rehearsal of an update. It stands still for a "
                   "moment")
      ->excludes("--kernel")
      ->type_name("VM");
  AddYes(*check, options);

  CLI::App* plan =
      add(Command::kPlan, "plan", "Say what an update would do, step by step");
  AddTarget(*plan, options, true);
  AddAppend(*plan, options);
  AddOverrideOption(*plan, options.overrides);
  AddWayOption(*plan, options.ways);

  CLI::App* prepare =
      add(Command::kPrepare, "prepare",
          "Do all that an update does before it pauses the first VM, and take "
          "it back: what would fail then fails now");
  AddTarget(*prepare, options, true);
  AddAppend(*prepare, options);
  AddConditions(*prepare, options);

  CLI::App* update = add(Command::kUpdate, "update",
                         "Go into another kernel with all VMs, and follow it");
  AddTarget(*update, options, true);
  AddAppend(*update, options);
  AddConditions(*update, options);
  AddYes(*update, options);

  CLI::App* abort = add(Command::kAbort, "abort",
                        "Take back the update that runs, before its kexec");
  AddReason(*abort, options);

  add(Command::kWatch, "watch", "Follow an operation to its end")
      ->add_option("id", options.id, "Its id; the one that runs if absent");
  add(Command::kVms, "vms", "List VMs and how an update would carry each");
  add(Command::kHistory, "history", "List operations, the newest first")
      ->add_option("--limit", options.limit, "How many at most; default 100")
      ->check(CLI::Range(1, 100000))
      ->type_name("COUNT");
  add(Command::kReport, "report", "Print the report of an update")
      ->add_option("id", options.id, "Its id; the last update if absent");

  CLI::App* recover =
      add(Command::kRecover, "recover",
          "Try again to restore VMs that an update left behind");
  recover->add_option("vm", options.vm,
                      "Name or UUID; all that wait if absent");
  AddBegin(*recover, options);

  CLI::App* finish =
      add(Command::kFinish, "finish",
          "Give the kept memory and state of one such VM up, for good");
  finish->add_option("vm", options.vm, "Name or UUID")->required();
  AddBegin(*finish, options);
  AddYes(*finish, options);

  CLI::App* enable =
      add(Command::kEnable, "enable",
          "Put what an update in place needs into a VM's persistent "
          "definition; holds from its next start");
  enable->add_option("vm", options.vm, "Name or UUID")->required();
  enable->add_flag("--undo", options.undo, "Change back what this changed");
  enable->add_flag("--dry-run", options.dry_run,
                   "Only print what would change");
  AddReason(*enable, options);

  CLI::App* restart =
      add(Command::kRestartVmm, "restart-vmm",
          "Take VMs into new QEMU processes of the installed version, one "
          "after the other; each stands still for a moment");
  restart->add_option("vm", options.vms,
                      "Names or UUIDs; all that run or are paused if absent");
  AddBegin(*restart, options);
  AddYes(*restart, options);

  CLI::App* rollback =
      add(Command::kRollback, "rollback",
          "Go back, live, to the kernel that the last successful update came "
          "from");
  AddAppend(*rollback, options);
  AddConditions(*rollback, options);
  AddYes(*rollback, options);

  add(Command::kVersion, "version",
      "Print the versions of hostupdatectl and hostupdated");
}

}  // namespace

std::variant<Options, int> ParseOptions(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Asks hostupdated to replace this host's kernel under its running VMs, "
      "and tells how it goes.",
      "hostupdatectl"};
  AddGlobal(app, options);
  Commands commands;
  AddCommands(app, options, commands);
  CLI::App* completion =
      app.add_subcommand("completion", "Print a shell's completion script");
  completion->require_subcommand(1);
  const CLI::App* bash = completion->add_subcommand("bash", "For bash");
  const CLI::App* zsh = completion->add_subcommand("zsh", "For zsh");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  if (bash->parsed() || zsh->parsed()) {
    const std::string script =
        bash->parsed() ? BashCompletion(app) : ZshCompletion(app);
    std::fputs(script.c_str(), stdout);
    return std::fflush(stdout) == 0
               ? 0
               : static_cast<int>(ExitCode::kFailedUnharmed);
  }
  for (const auto& [parsed, command] : commands) {
    if (parsed->parsed()) options.command = command;
  }
  if (options.socket.empty()) {
    options.socket = OnlyReads(options.command) ? kReadSocket : kManageSocket;
  }
  return options;
}

}  // namespace live_update::ctl
