// The physical memory map as the running kernel tells it (/proc/iomem).

#ifndef LOADER_MEMORY_MAP_H_
#define LOADER_MEMORY_MAP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "loader/memmap.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// Names of resources as /proc/iomem has them.
inline constexpr absl::string_view kLegacyPersistentMemory =
    "Persistent Memory (legacy)";  // memmap=nn!ss, e820 type 12
inline constexpr absl::string_view kPersistentMemory = "Persistent Memory";
inline constexpr absl::string_view kSystemRam = "System RAM";

struct MemoryResource {
  PhysRange range;
  int depth = 0;  // 0: a resource of its own; n: lies in the last of n - 1.
  std::string name;
};

using MemoryMap = std::vector<MemoryResource>;

// Reads the text of /proc/iomem. kInvalidArgument: malformed (with the line) or
// beyond all measure. kPermissionDenied: every address is 0, which is what the
// kernel shows to those without CAP_SYS_ADMIN.
absl::StatusOr<MemoryMap> ParseIomem(absl::string_view text);

// Ranges of the resources of that name, at any depth, in the map's order.
std::vector<PhysRange> RangesNamed(const MemoryMap& map,
                                   absl::string_view name);

// What keeps the memory of a pmem device from being used by a kernel.
struct PmemReservation {
  enum class By {
    kCommandLine,  // memmap=nn!ss: the next kernel needs the same word.
    kFirmware,     // The firmware's own map: every kernel finds it there.
  };
  By by = By::kCommandLine;
  PhysRange range;     // Of the reservation.
  bool exact = false;  // The device takes all of it.
  std::string memmap;  // For kCommandLine: "1G!1G".
};

// Finds what reserves `device`, the range of a pmem device.
// kFailedPrecondition: the device is (partly) in no memmap=nn!ss region nor in
// firmware's persistent memory, or the map does not show what the command line
// says.
absl::StatusOr<PmemReservation> FindReservation(
    const PhysRange& device, absl::Span<const MemmapRegion> memmap,
    const MemoryMap& map);

}  // namespace live_update::loader

#endif  // LOADER_MEMORY_MAP_H_
