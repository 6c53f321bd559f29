// What a kernel needs, as numbers, then a text of /proc/iomem. A plan that
// comes of it must touch nothing but free RAM.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "loader/load_plan.h"
#include "loader/load_plan_invariants.h"

using ::live_update::loader::BootFacts;
using ::live_update::loader::KernelNeeds;
using ::live_update::loader::kLegacyPersistentMemory;
using ::live_update::loader::LoadInput;
using ::live_update::loader::MakeLoadPlan;
using ::live_update::loader::ParseIomem;
using ::live_update::loader::PhysRange;
using ::live_update::loader::RangesNamed;
using ::live_update::loader::Violation;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint64_t numbers[6];
  if (size < sizeof(numbers)) return 0;
  std::memcpy(numbers, data, sizeof(numbers));
  const auto map = ParseIomem(
      absl::string_view(reinterpret_cast<const char*>(data) + sizeof(numbers),
                        size - sizeof(numbers)));
  if (!map.ok()) return 0;
  const KernelNeeds kernel = {.file_bytes = numbers[0],
                              .memory_bytes = numbers[1],
                              .lowest_address = numbers[2],
                              .movable = (numbers[3] & 1) != 0,
                              .alignment = numbers[3] & ~uint64_t{1},
                              .entry_offset = numbers[4],
                              .command_line_bytes = 2047,
                              .setup_header = std::string(123, '\0')};
  const BootFacts boot = {.boot_params = std::string(4096, '\0')};
  const std::vector<PhysRange> untouched =
      RangesNamed(*map, kLegacyPersistentMemory);
  const LoadInput input = {.kernel = kernel,
                           .initrd_bytes = numbers[5],
                           .command_line = "console=ttyS0",
                           .map = *map,
                           .untouched = untouched,
                           .boot = boot};
  const auto plan = MakeLoadPlan(input);
  if (!plan.ok()) return 0;
  const std::string violation = Violation(input, *plan);
  if (!violation.empty()) {
    std::fprintf(stderr, "%s\n", violation.c_str());
    std::abort();
  }
  return 0;
}
