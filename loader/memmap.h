// memmap= parameters: memory that a kernel is told to see in another way than
// the firmware's map has it.

#ifndef LOADER_MEMMAP_H_
#define LOADER_MEMMAP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// A number as the kernel's memparse() reads it: decimal, 0x hexadecimal or 0
// octal, with a suffix K, M, G, T, P or E in either case.
absl::StatusOr<uint64_t> ParseSize(absl::string_view text);

// One region of a memmap= parameter (which may hold several, comma-separated).
struct MemmapRegion {
  enum class Kind {
    kRam,         // nn@ss
    kAcpi,        // nn#ss
    kReserved,    // nn$ss
    kPersistent,  // nn!ss: what becomes /dev/pmemN
    kConverted,   // nn%ss-old+new
    kExactMap,    // exactmap; no range
    kLimit,       // nn: RAM ends there, like mem=; `range` is what is left out
  };
  Kind kind = Kind::kReserved;
  PhysRange range;
  std::string text;  // "1G!1G"
};

// All regions of all memmap= parameters that the kernel reads, in order.
// kInvalidArgument: one that is malformed, empty, or ends beyond 2^64.
absl::StatusOr<std::vector<MemmapRegion>> MemmapRegions(absl::string_view line);

}  // namespace live_update::loader

#endif  // LOADER_MEMMAP_H_
