// CRC32C (Castagnoli, as in iSCSI and ext4): finds torn and flipped bits, not
// forgeries.

#ifndef BASE_CRC32C_H_
#define BASE_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace live_update {

// The CRC32C of a text whose first part has `crc` and is followed by `bytes`.
// ExtendCrc32c(0, bytes) is the CRC32C of `bytes`. Uses the processor's
// instruction where there is one.
uint32_t ExtendCrc32c(uint32_t crc, absl::Span<const uint8_t> bytes);

inline uint32_t Crc32c(absl::Span<const uint8_t> bytes) {
  return ExtendCrc32c(0, bytes);
}

inline uint32_t Crc32c(absl::string_view bytes) {
  return Crc32c(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

// Both ways, for the test that compares them.
namespace internal {

uint32_t ExtendCrc32cByTable(uint32_t crc, absl::Span<const uint8_t> bytes);

bool HasCrc32cInstruction();

// Only if HasCrc32cInstruction().
uint32_t ExtendCrc32cByInstruction(uint32_t crc,
                                   absl::Span<const uint8_t> bytes);

}  // namespace internal
}  // namespace live_update

#endif  // BASE_CRC32C_H_
