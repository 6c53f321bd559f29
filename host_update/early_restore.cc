#include "host_update/early_restore.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "loader/command_line.h"

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

absl::Status LetBootGoOn(const Paths& paths) {
  return WriteFileAtomically(absl::StrCat(paths.run_dir, "/boot-goes-on"), "");
}

}  // namespace live_update
