#include "loader/memory_map.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace live_update::loader {
namespace {

// Cut-off values far above what any host shows, so that parsing ends early.
constexpr size_t kMaxText = size_t{4} << 20;
constexpr size_t kMaxResources = 32768;
constexpr size_t kMaxName = 256;
constexpr size_t kMaxDepth = 16;

bool ConsumeHex(absl::string_view* text, uint64_t* value) {
  const size_t end = text->find_first_not_of("0123456789abcdef");
  const absl::string_view digits = text->substr(0, end);
  text->remove_prefix(digits.size());
  return digits.size() <= 16 && absl::SimpleHexAtoi(digits, value);
}

// "  40000000-7fffffff : Persistent Memory (legacy)"; two blanks a level.
absl::StatusOr<MemoryResource> ParseLine(absl::string_view line) {
  const absl::Status malformed = absl::InvalidArgumentError(
      absl::StrCat("not a line of /proc/iomem: \"", line.substr(0, 80), "\""));
  const size_t blanks = std::min(line.find_first_not_of(' '), line.size());
  absl::string_view rest = line.substr(blanks);
  uint64_t first = 0;
  uint64_t last = 0;
  if (!ConsumeHex(&rest, &first) || !absl::ConsumePrefix(&rest, "-") ||
      !ConsumeHex(&rest, &last) || !absl::ConsumePrefix(&rest, " : ")) {
    return malformed;
  }
  if (last < first || blanks % 2 != 0 || blanks / 2 > kMaxDepth ||
      rest.size() > kMaxName) {
    return malformed;
  }
  // A resource up to the very last byte is taken one byte short: its end would
  // not fit.
  const uint64_t size = last - first + (last == UINT64_MAX ? 0 : 1);
  return MemoryResource{.range = {.start = first, .size_bytes = size},
                        .depth = static_cast<int>(blanks / 2),
                        .name = std::string(rest)};
}

bool ContainedInOne(const PhysRange& range,
                    const std::vector<PhysRange>& ranges) {
  return std::any_of(
      ranges.begin(), ranges.end(),
      [&](const PhysRange& candidate) { return candidate.Contains(range); });
}

}  // namespace

absl::StatusOr<MemoryMap> ParseIomem(absl::string_view text) {
  if (text.size() > kMaxText) {
    return absl::InvalidArgumentError(
        absl::StrCat("/proc/iomem of ", text.size(), " bytes"));
  }
  MemoryMap map;
  bool hidden = true;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty()) continue;
    if (map.size() == kMaxResources) {
      return absl::InvalidArgumentError(absl::StrCat(
          "/proc/iomem has more than ", kMaxResources, " resources"));
    }
    LU_ASSIGN_OR_RETURN(MemoryResource resource, ParseLine(line));
    const int deepest = map.empty() ? 0 : map.back().depth + 1;
    if (resource.depth > deepest) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a resource of /proc/iomem lies in none: \"", line, "\""));
    }
    hidden = hidden && resource.range.end() == 1;
    map.push_back(std::move(resource));
  }
  if (!map.empty() && hidden) {
    return absl::PermissionDeniedError(
        "the addresses of /proc/iomem are hidden (needs CAP_SYS_ADMIN)");
  }
  return map;
}

std::vector<PhysRange> RangesNamed(const MemoryMap& map,
                                   absl::string_view name) {
  std::vector<PhysRange> ranges;
  for (const MemoryResource& resource : map) {
    if (resource.name == name) ranges.push_back(resource.range);
  }
  return ranges;
}

absl::StatusOr<PmemReservation> FindReservation(
    const PhysRange& device, absl::Span<const MemmapRegion> memmap,
    const MemoryMap& map) {
  // A memmap= that reaches over a hole gives several resources; the device then
  // lies in one of them.
  const bool in_legacy =
      ContainedInOne(device, RangesNamed(map, kLegacyPersistentMemory));
  for (const MemmapRegion& region : memmap) {
    if (region.kind != MemmapRegion::Kind::kPersistent ||
        !region.range.Contains(device)) {
      continue;
    }
    if (!in_legacy) {
      return absl::FailedPreconditionError(absl::StrCat(
          "memmap=", region.text, " covers the device at ", device.ToString(),
          ", but /proc/iomem does not show it as ", kLegacyPersistentMemory));
    }
    return PmemReservation{.by = PmemReservation::By::kCommandLine,
                           .range = region.range,
                           .exact = region.range == device,
                           .memmap = region.text};
  }
  for (const MemmapRegion& region : memmap) {
    if (region.kind == MemmapRegion::Kind::kPersistent &&
        region.range.Overlaps(device)) {
      return absl::FailedPreconditionError(
          absl::StrCat("memmap=", region.text, " covers only a part of the ",
                       "device at ", device.ToString()));
    }
  }
  for (const absl::string_view name :
       {kPersistentMemory, kLegacyPersistentMemory}) {
    for (const PhysRange& range : RangesNamed(map, name)) {
      if (range.Contains(device)) {
        return PmemReservation{.by = PmemReservation::By::kFirmware,
                               .range = range,
                               .exact = range == device,
                               .memmap = ""};
      }
    }
  }
  return absl::FailedPreconditionError(
      absl::StrCat("nothing reserves the device at ", device.ToString(),
                   ": no memmap=nn!ss covers it, and it is not the firmware's "
                   "persistent memory"));
}

}  // namespace live_update::loader
