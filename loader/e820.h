// The memory map that a boot loader gives an x86 kernel (e820), made of the
// running kernel's own view of it.
//
// That is /proc/iomem, not /sys/firmware/memmap: the latter is the firmware's,
// in which a memmap=nn!ss region is plain RAM. Here it is a type of its own,
// and the next kernel, whose command line has the same memmap= words, changes
// nothing any more by reading them.

#ifndef LOADER_E820_H_
#define LOADER_E820_H_

#include <cstdint>
#include <vector>

#include "loader/memory_map.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// Numbers of the boot protocol and of the kernel (asm/e820/types.h).
enum class E820Type : uint32_t {
  kRam = 1,
  kReserved = 2,
  kAcpiTables = 3,
  kAcpiNvs = 4,
  kUnusable = 5,
  kPersistent = 7,
  kPersistentLegacy = 12,
  kSoftReserved = 0xefffffff,
};

struct E820Range {
  PhysRange range;
  E820Type type = E820Type::kReserved;

  friend bool operator==(const E820Range&, const E820Range&) = default;
};

// Sorted and disjoint. Resources that are no memory of the firmware's (devices,
// parts of the kernel) are left out. Where two overlap, the one with the higher
// type holds, as in the kernel: never RAM against another. Ranges that touch
// are one, unless each is a device of its own (persistent, soft reserved).
std::vector<E820Range> E820Of(const MemoryMap& map);

}  // namespace live_update::loader

#endif  // LOADER_E820_H_
