#include "loader/memmap.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "loader/command_line.h"

namespace live_update::loader {
namespace {

// Takes a number off the front of `text`, as simple_strtoull() would with base
// 0.
bool ConsumeNumber(absl::string_view* text, uint64_t* number) {
  unsigned base = 10;
  if (absl::StartsWith(*text, "0x") || absl::StartsWith(*text, "0X")) {
    base = 16;
    text->remove_prefix(2);
  } else if (absl::StartsWith(*text, "0")) {
    base = 8;  // The 0 itself is the first digit.
  }
  *number = 0;
  size_t digits = 0;
  for (; digits < text->size(); ++digits) {
    const char c = absl::ascii_tolower((*text)[digits]);
    const unsigned digit = absl::ascii_isdigit(c) ? c - '0'
                           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                  : 16;
    if (digit >= base) break;
    if (__builtin_mul_overflow(*number, uint64_t{base}, number) ||
        __builtin_add_overflow(*number, uint64_t{digit}, number)) {
      return false;
    }
  }
  text->remove_prefix(digits);
  return digits > 0;
}

// A number with its suffix, off the front of `text`. kInvalidArgument without
// context: the callers know what they read.
bool ConsumeSize(absl::string_view* text, uint64_t* size) {
  if (!ConsumeNumber(text, size)) return false;
  constexpr absl::string_view kSuffixes = "KMGTPE";
  if (text->empty()) return true;
  const size_t power = kSuffixes.find(absl::ascii_toupper(text->front()));
  if (power == absl::string_view::npos) return true;
  text->remove_prefix(1);
  return !__builtin_mul_overflow(*size, uint64_t{1} << (10 * (power + 1)),
                                 size);
}

absl::StatusOr<MemmapRegion::Kind> KindOfSeparator(char separator) {
  switch (separator) {
    case '@':
      return MemmapRegion::Kind::kRam;
    case '#':
      return MemmapRegion::Kind::kAcpi;
    case '$':
      return MemmapRegion::Kind::kReserved;
    case '!':
      return MemmapRegion::Kind::kPersistent;
    case '%':
      return MemmapRegion::Kind::kConverted;
    default:
      return absl::InvalidArgumentError("no such kind of memmap=");
  }
}

absl::StatusOr<MemmapRegion> ParseMemmapRegion(absl::string_view text) {
  MemmapRegion region;
  region.text = std::string(text);
  const absl::Status malformed = absl::InvalidArgumentError(absl::StrCat(
      "memmap=", text, " is not of the form nn[KMG]!ss[KMG] (size!start)"));
  if (absl::StartsWith(text, "exactmap")) {
    region.kind = MemmapRegion::Kind::kExactMap;
    return region;
  }
  absl::string_view rest = text;
  uint64_t size = 0;
  if (!ConsumeSize(&rest, &size)) return malformed;
  if (rest.empty()) {
    region.kind = MemmapRegion::Kind::kLimit;
    region.range = {.start = size, .size_bytes = ~size};
    return region;
  }
  const auto kind = KindOfSeparator(rest.front());
  if (!kind.ok()) return malformed;
  region.kind = *kind;
  rest.remove_prefix(1);
  uint64_t start = 0;
  if (!ConsumeSize(&rest, &start)) return malformed;
  if (region.kind == MemmapRegion::Kind::kConverted) rest = "";  // -old+new
  uint64_t end = 0;
  if (!rest.empty()) return malformed;
  if (size == 0 || __builtin_add_overflow(start, size, &end)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "memmap=", text, " is empty or ends beyond the address space"));
  }
  region.range = {.start = start, .size_bytes = size};
  return region;
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(absl::string_view text) {
  absl::string_view rest = text;
  uint64_t size = 0;
  if (!ConsumeSize(&rest, &size) || !rest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a size such as 1G or 0x40000000"));
  }
  return size;
}

absl::StatusOr<std::vector<MemmapRegion>> MemmapRegions(
    absl::string_view line) {
  LU_ASSIGN_OR_RETURN(const CommandLine split, SplitCommandLine(line));
  std::vector<MemmapRegion> regions;
  for (const Parameter& parameter : split.kernel) {
    if (parameter.name != "memmap" || !parameter.has_value) continue;
    for (const absl::string_view text : absl::StrSplit(parameter.value, ',')) {
      LU_ASSIGN_OR_RETURN(MemmapRegion region, ParseMemmapRegion(text));
      regions.push_back(std::move(region));
    }
  }
  return regions;
}

}  // namespace live_update::loader
