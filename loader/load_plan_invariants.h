// What holds of every plan, looked up one by one in the map that it was made
// from; shared by the tests and the fuzzer.

#ifndef LOADER_LOAD_PLAN_INVARIANTS_H_
#define LOADER_LOAD_PLAN_INVARIANTS_H_

#include <asm/bootparam.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "loader/load_plan.h"

namespace live_update::loader {

// Whether all of `range` is covered by System RAM of `map`.
inline bool IsRam(const PhysRange& range, const MemoryMap& map) {
  uint64_t at = range.start;
  for (bool found = true; found && at < range.end();) {
    found = false;
    for (const MemoryResource& resource : map) {
      if (resource.name != kSystemRam || resource.range.start > at ||
          resource.range.end() <= at) {
        continue;
      }
      at = resource.range.end();
      found = true;
    }
  }
  return at >= range.end();
}

// "" or the first that does not hold.
inline std::string Violation(const LoadInput& input, const LoadPlan& plan) {
  const std::vector<PhysRange> segments = plan.Segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    const PhysRange& segment = segments[i];
    const std::string name = segment.ToString();
    if (segment.size_bytes == 0 || segment.start % kPageBytes != 0 ||
        segment.size_bytes % kPageBytes != 0) {
      return absl::StrCat(name, " is not whole pages");
    }
    if (segment.start < 0x100000) return absl::StrCat(name, " is low");
    if (!IsRam(segment, input.map)) return absl::StrCat(name, " is not RAM");
    for (size_t j = 0; j < i; ++j) {
      if (segment.Overlaps(segments[j])) {
        return absl::StrCat(name, " overlaps ", segments[j].ToString());
      }
    }
    for (const PhysRange& range : input.untouched) {
      if (segment.Overlaps(range)) return absl::StrCat(name, " is preserved");
    }
    for (const MemoryResource& resource : input.map) {
      if ((resource.name == "Reserved" || resource.name == "ACPI Tables" ||
           resource.name == kLegacyPersistentMemory ||
           resource.name == "Crash kernel") &&
          segment.Overlaps(resource.range)) {
        return absl::StrCat(name, " lies in ", resource.name);
      }
    }
  }

  const KernelNeeds& needs = input.kernel;
  if (plan.kernel.size_bytes < needs.memory_bytes ||
      plan.kernel.start < needs.lowest_address ||
      (needs.movable ? plan.kernel.start % needs.alignment != 0
                     : plan.kernel.start != needs.lowest_address)) {
    return absl::StrCat("the kernel can't lie at ", plan.kernel.ToString());
  }
  if (plan.initrd.has_value() != (input.initrd_bytes != 0) ||
      (plan.initrd.has_value() &&
       plan.initrd->size_bytes < input.initrd_bytes)) {
    return "the initrd is missing or cut off";
  }
  if (plan.boot_pages.size() != plan.boot.size_bytes ||
      plan.entry != plan.boot.start + kTrampolineOffset) {
    return "the boot pages are not where they are entered";
  }

  boot_params params;
  std::memcpy(&params, plan.boot_pages.data(), sizeof(params));
  uint64_t last = 0;
  for (int i = 0; i < params.e820_entries; ++i) {
    const auto& entry = params.e820_table[i];
    if (entry.size == 0 || entry.addr < last) return "e820 is not in order";
    last = entry.addr + entry.size;
    const PhysRange range = {.start = entry.addr, .size_bytes = entry.size};
    if (entry.type == 1 && !IsRam(range, input.map)) {
      return absl::StrCat("e820 makes RAM of ", range.ToString());
    }
    for (const PhysRange& kept : input.untouched) {
      if (entry.type == 1 && range.Overlaps(kept)) {
        return absl::StrCat("e820 gives away ", kept.ToString());
      }
    }
  }
  return "";
}

}  // namespace live_update::loader

#endif  // LOADER_LOAD_PLAN_INVARIANTS_H_
