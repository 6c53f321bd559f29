#include "host_update/libvirt/ram_pages.h"

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/checked_math.h"

namespace live_update {
namespace {

struct Range {
  uint64_t start = 0;
  uint64_t end = 0;
};

// Of a mapping's first line: "7f0000000000-7f0010000000 rw-s …".
std::optional<Range> ParseRange(absl::string_view line) {
  const absl::string_view word = line.substr(0, line.find(' '));
  const size_t dash = word.find('-');
  Range range;
  if (dash == absl::string_view::npos ||
      !absl::SimpleHexAtoi(word.substr(0, dash), &range.start) ||
      !absl::SimpleHexAtoi(word.substr(dash + 1), &range.end)) {
    return std::nullopt;
  }
  return range;
}

// Adds "   1024 kB" to `bytes`. False: it is no such text, or too much.
bool AddKib(absl::string_view text, uint64_t& bytes) {
  uint64_t kib = 0;
  if (!absl::ConsumeSuffix(&text, " kB") || !absl::SimpleAtoi(text, &kib)) {
    return false;
  }
  const std::optional<uint64_t> more = CheckedMultiply(kib, 1024);
  const std::optional<uint64_t> sum =
      more.has_value() ? CheckedAdd(bytes, *more) : std::nullopt;
  bytes = sum.value_or(0);
  return sum.has_value();
}

}  // namespace

absl::StatusOr<RamPages> ParseRamPages(absl::string_view smaps,
                                       uint64_t address, uint64_t size_bytes) {
  const std::optional<uint64_t> end = CheckedAdd(address, size_bytes);
  if (!end.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%#x+%#x is no range", address, size_bytes));
  }
  RamPages pages;
  bool found = false;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(smaps, '\n')) {
    if (const std::optional<Range> range = ParseRange(line)) {
      inside = range->start >= address && range->end <= *end &&
               range->start < range->end;
      found = found || inside;
      continue;
    }
    if (!inside) continue;
    uint64_t* bytes = nullptr;
    if (absl::ConsumePrefix(&line, "Rss:")) {
      bytes = &pages.resident_bytes;
    } else if (absl::ConsumePrefix(&line, "ShmemPmdMapped:") ||
               absl::ConsumePrefix(&line, "FilePmdMapped:")) {
      bytes = &pages.huge_bytes;
    }
    if (bytes != nullptr && !AddKib(line, *bytes)) {
      return absl::InvalidArgumentError("smaps: not a number of kB");
    }
  }
  if (!found) {
    return absl::NotFoundError(absl::StrFormat(
        "smaps: nothing is mapped in %#x+%#x", address, size_bytes));
  }
  if (pages.resident_bytes > size_bytes ||
      pages.huge_bytes > pages.resident_bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("smaps: %d bytes of %d in huge pages, in a block of %d",
                        pages.huge_bytes, pages.resident_bytes, size_bytes));
  }
  return pages;
}

}  // namespace live_update
