#include "host_update/early_restore.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "host_update/early_root.h"
#include "loader/command_line.h"
#include "loader/initrd_files.h"

namespace live_update {
namespace {

// What a console is told is waited for, line by line: its errors are enough.
constexpr char kFirstBootWords[] =
    "systemd.unit=host-update-early.target quiet systemd.show_status=no";

// As systemd reads it (systemd(1) and systemd-debug-generator(8), "Kernel
// Command Line"): systemd.unit=, a runlevel's name, or no restore by itself.
bool AsksForAnotherBoot(const loader::Parameter& word) {
  constexpr absl::string_view kRunlevels[] = {
      "emergency", "rescue", "single", "s", "S", "1", "2", "3", "4", "5"};
  if (!word.has_value) {
    return std::find(std::begin(kRunlevels), std::end(kRunlevels), word.word) !=
           std::end(kRunlevels);
  }
  return word.name == "systemd.unit" ||
         word.word == "systemd.mask=host-update-restore.service";
}

// Words that ask an initramfs for more than the root file system as it is:
// initramfs-tools(7), dracut.cmdline(7).
bool AsksTheInitramfs(const loader::Parameter& word) {
  constexpr absl::string_view kNames[] = {
      "rdinit",    "init",        "break",   "ip",
      "rootflags", "boot",        "BOOT",    "overlayroot",
      "cryptopts", "cryptdevice", "nfsroot", "netroot"};
  return std::find(std::begin(kNames), std::end(kNames), word.name) !=
             std::end(kNames) ||
         absl::StartsWith(word.name, "rd.") || word.word == "fsck.mode=force";
}

constexpr uint64_t kMaxEarlyInit = uint64_t{16} << 20;

}  // namespace

std::string FirstBootWords(const UpdateRequest& request,
                           const HostFacts& host) {
  if (!request.early_restore || !host.early_restore_installed) return "";
  for (const std::string& line : {host.command_line, request.append}) {
    const auto words = loader::OrdinaryWords(line);
    // One that can't be split is told of where the target's line is made.
    if (!words.ok() || std::any_of(words->kernel.begin(), words->kernel.end(),
                                   AsksForAnotherBoot)) {
      return "";
    }
  }
  return kFirstBootWords;
}

absl::StatusOr<EarlySteps> DecideEarlyRoot(const UpdateRequest& request,
                                           const HostFacts& host) {
  if (!request.early_root || FirstBootWords(request, host).empty()) {
    return absl::FailedPreconditionError("it is not asked for");
  }
  if (request.initrd_path.empty()) {
    return absl::FailedPreconditionError("the target has no initramfs");
  }
  for (const std::string& line : {host.command_line, request.append}) {
    LU_ASSIGN_OR_RETURN(const auto words, loader::OrdinaryWords(line));
    const auto found = std::find_if(words.kernel.begin(), words.kernel.end(),
                                    AsksTheInitramfs);
    if (found != words.kernel.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the command line has ", found->word));
    }
  }
  return host.early_root;
}

absl::StatusOr<UniqueFd> WithEarlyInit(const UniqueFd& initrd,
                                       const EarlySteps& steps,
                                       const Paths& paths) {
  LU_ASSIGN_OR_RETURN(std::string program,
                      ReadFile(paths.root + kEarlyInitPath, kMaxEarlyInit));
  return loader::PrependFiles(initrd,
                              {{.path = "host-update", .mode = S_IFDIR | 0700},
                               {.path = kEarlyInitInInitrd,
                                .mode = S_IFREG | 0700,
                                .content = std::move(program)},
                               {.path = kEarlyStepsInInitrd,
                                .mode = S_IFREG | 0600,
                                .content = FormatEarlySteps(steps)}});
}

absl::Status LetBootGoOn(const Paths& paths) {
  return WriteFileAtomically(absl::StrCat(paths.run_dir, "/boot-goes-on"), "");
}

}  // namespace live_update
