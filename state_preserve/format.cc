#include "state_preserve/format.h"

#include "absl/types/span.h"
#include "base/crc32c.h"

namespace live_update {
namespace {

template <typename T>
uint32_t CrcOf(const T& value) {
  return Crc32c(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&value),
                                    sizeof(value)));
}

}  // namespace

uint32_t HeaderCrc32c(HandoverHeader header) {
  header.magic = kHandoverMagic;
  header.header_crc32c = 0;
  return CrcOf(header);
}

uint32_t HeaderCrc32c(RecordHeader header) {
  header.header_crc32c = 0;
  return CrcOf(header);
}

}  // namespace live_update
