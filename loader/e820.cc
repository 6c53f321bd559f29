#include "loader/e820.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/string_view.h"

namespace live_update::loader {
namespace {

// How /proc/iomem names them (arch/x86/kernel/e820.c).
constexpr std::pair<absl::string_view, E820Type> kNames[] = {
    {kSystemRam, E820Type::kRam},
    {"Reserved", E820Type::kReserved},
    {"Unknown E820 type", E820Type::kReserved},
    {"ACPI Tables", E820Type::kAcpiTables},
    {"ACPI Non-volatile Storage", E820Type::kAcpiNvs},
    {"Unusable memory", E820Type::kUnusable},
    {kPersistentMemory, E820Type::kPersistent},
    {kLegacyPersistentMemory, E820Type::kPersistentLegacy},
    {"Soft Reserved", E820Type::kSoftReserved},
};

std::optional<E820Type> TypeOf(absl::string_view name) {
  for (const auto& [known, type] : kNames) {
    if (known == name) return type;
  }
  return std::nullopt;
}

bool IsDevice(E820Type type) {
  return type == E820Type::kPersistent || type == E820Type::kPersistentLegacy ||
         type == E820Type::kSoftReserved;
}

// A resource that covers an address. Of several, the greatest holds.
struct Holder {
  E820Type type;
  size_t index;  // Of its resource.

  friend auto operator<=>(const Holder&, const Holder&) = default;
};

struct Boundary {
  uint64_t address;
  bool begins;
  Holder holder;
};

}  // namespace

std::vector<E820Range> E820Of(const MemoryMap& map) {
  std::vector<Boundary> boundaries;
  for (size_t i = 0; i < map.size(); ++i) {
    const std::optional<E820Type> type = TypeOf(map[i].name);
    if (!type.has_value()) continue;
    const Holder holder = {.type = *type, .index = i};
    boundaries.push_back({map[i].range.start, true, holder});
    boundaries.push_back({map[i].range.end(), false, holder});
  }
  std::sort(boundaries.begin(), boundaries.end(),
            [](const Boundary& a, const Boundary& b) {
              return a.address < b.address;
            });

  std::vector<E820Range> ranges;
  std::set<Holder> open;
  size_t last_index = 0;  // Of the resource that the last range is of.
  for (size_t i = 0; i < boundaries.size(); ++i) {
    const Boundary& at = boundaries[i];
    if (at.begins) {
      open.insert(at.holder);
    } else {
      open.erase(at.holder);
    }
    const uint64_t end =
        i + 1 < boundaries.size() ? boundaries[i + 1].address : at.address;
    if (open.empty() || end == at.address) continue;
    const Holder holder = *open.rbegin();
    if (!ranges.empty() && ranges.back().range.end() == at.address &&
        ranges.back().type == holder.type &&
        (!IsDevice(holder.type) || last_index == holder.index)) {
      ranges.back().range.size_bytes += end - at.address;
    } else {
      ranges.push_back(
          {.range = {.start = at.address, .size_bytes = end - at.address},
           .type = holder.type});
    }
    last_index = holder.index;
  }
  return ranges;
}

}  // namespace live_update::loader
