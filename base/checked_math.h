// Arithmetic on sizes that others chose, which says when it would overflow.

#ifndef BASE_CHECKED_MATH_H_
#define BASE_CHECKED_MATH_H_

#include <cstdint>
#include <optional>

namespace live_update {

inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> CheckedMultiply(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// `value` rounded up to a multiple of `alignment`, a power of two.
inline std::optional<uint64_t> CheckedAlignUp(uint64_t value,
                                              uint64_t alignment) {
  const std::optional<uint64_t> sum = CheckedAdd(value, alignment - 1);
  if (!sum.has_value()) return std::nullopt;
  return *sum & ~(alignment - 1);
}

// Whether [offset, offset + size) lies in [0, total). The one way to ask it: a
// sum of hostile numbers may wrap.
inline constexpr bool FitsWithin(uint64_t offset, uint64_t size,
                                 uint64_t total) {
  return offset <= total && size <= total - offset;
}

}  // namespace live_update

#endif  // BASE_CHECKED_MATH_H_
