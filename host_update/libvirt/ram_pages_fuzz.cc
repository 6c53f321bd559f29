// A hostile /proc/PID/smaps: whatever is accepted adds up within the block.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "host_update/libvirt/ram_pages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view smaps(reinterpret_cast<const char*>(data), size);
  constexpr uint64_t kAddress = 0x7f0000000000;
  for (const uint64_t bytes : {uint64_t{1} << 28, ~uint64_t{0} - kAddress}) {
    const auto pages = live_update::ParseRamPages(smaps, kAddress, bytes);
    if (pages.ok() && (pages->huge_bytes > pages->resident_bytes ||
                       pages->resident_bytes > bytes)) {
      std::abort();
    }
  }
  return 0;
}
