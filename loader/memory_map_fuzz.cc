// A text of /proc/iomem. What is read must be in bounds, and no device is found
// in a reservation that does not cover it.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "loader/memory_map.h"

using ::live_update::loader::FindReservation;
using ::live_update::loader::MemoryResource;
using ::live_update::loader::ParseIomem;
using ::live_update::loader::PhysRange;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto map =
      ParseIomem(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!map.ok()) return 0;
  for (const MemoryResource& resource : *map) {
    if (resource.range.size_bytes == 0 ||
        resource.range.end() <= resource.range.start) {
      std::abort();
    }
  }
  const PhysRange device = {.start = 0x40000000, .size_bytes = 0x40000000};
  const auto found = FindReservation(device, {}, *map);
  if (found.ok() && !found->range.Contains(device)) std::abort();
  return 0;
}
