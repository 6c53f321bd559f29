// Two command lines, split at the first newline: the running kernel's and what
// is appended. What comes out must stand the checks it is made for.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "loader/command_line.h"
#include "loader/memmap.h"

using ::live_update::loader::CheckKeepsMemory;
using ::live_update::loader::MemmapRegions;
using ::live_update::loader::TargetCommandLine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t newline = text.find('\n');
  const absl::string_view running = text.substr(0, newline);
  const absl::string_view append =
      newline == absl::string_view::npos ? "" : text.substr(newline + 1);

  const auto memmap = MemmapRegions(running);
  const auto alone = TargetCommandLine(running, "");
  if (alone.ok() && !CheckKeepsMemory(running, *alone).ok()) std::abort();
  const auto target = TargetCommandLine(running, append);
  if (!target.ok()) return 0;
  // One update after another does not make it longer.
  const auto again = TargetCommandLine(*target, append);
  if (!again.ok() || *again != *target) std::abort();
  return 0;
}
