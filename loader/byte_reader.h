// Bounds-checked reading of little-endian numbers out of foreign bytes.

#ifndef LOADER_BYTE_READER_H_
#define LOADER_BYTE_READER_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/checked_math.h"

namespace live_update::loader {

static_assert(std::endian::native == std::endian::little);

inline absl::Span<const uint8_t> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline absl::string_view AsText(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// `size` bytes at `offset`. kOutOfRange, with the numbers: not all there.
inline absl::StatusOr<absl::Span<const uint8_t>> BytesAt(
    absl::Span<const uint8_t> bytes, uint64_t offset, uint64_t size) {
  if (!FitsWithin(offset, size, bytes.size())) {
    return absl::OutOfRangeError(absl::StrFormat("%d bytes at offset %#x of %d",
                                                 size, offset, bytes.size()));
  }
  return bytes.subspan(offset, size);
}

// The number at `offset`. The caller has checked that it is there: 0 if not.
template <typename T>
T NumberAt(absl::Span<const uint8_t> bytes, uint64_t offset) {
  static_assert(std::is_unsigned_v<T>);
  T number = 0;
  if (FitsWithin(offset, sizeof(T), bytes.size())) {
    std::memcpy(&number, bytes.data() + offset, sizeof(T));
  }
  return number;
}

}  // namespace live_update::loader

#endif  // LOADER_BYTE_READER_H_
