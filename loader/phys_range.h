// A run of physical memory.

#ifndef LOADER_PHYS_RANGE_H_
#define LOADER_PHYS_RANGE_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"

namespace live_update::loader {

// [start, start + size_bytes). Whoever makes one has checked that the sum does
// not overflow and that the size is not zero.
struct PhysRange {
  uint64_t start = 0;
  uint64_t size_bytes = 0;

  uint64_t end() const { return start + size_bytes; }
  bool Contains(const PhysRange& other) const {
    return other.start >= start && other.end() <= end();
  }
  bool Overlaps(const PhysRange& other) const {
    return start < other.end() && other.start < end();
  }
  // "0x40000000+0x40000000", as addresses are written everywhere here.
  std::string ToString() const {
    return absl::StrFormat("%#x+%#x", start, size_bytes);
  }

  friend bool operator==(const PhysRange&, const PhysRange&) = default;
};

}  // namespace live_update::loader

#endif  // LOADER_PHYS_RANGE_H_
