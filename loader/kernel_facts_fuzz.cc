// A kernel file: header, then contents. Everything told of it must lie in it.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "loader/kernel_facts.h"
#include "loader/kernel_image.h"

using ::live_update::loader::ElfSegment;
using ::live_update::loader::ReadKernelFacts;
using ::live_update::loader::ReadKernelImage;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto image = ReadKernelImage({data, size});
  if (!image.ok()) return 0;
  if (image->bzimage.has_value()) {
    const auto& bzimage = *image->bzimage;
    if (bzimage.payload_offset > size ||
        bzimage.payload_bytes > size - bzimage.payload_offset) {
      std::abort();
    }
  } else {
    for (const ElfSegment& segment : image->elf->segments) {
      if (segment.file_offset > size ||
          segment.file_bytes > size - segment.file_offset) {
        std::abort();
      }
    }
  }
  const auto facts = ReadKernelFacts({data, size}, *image);
  if (facts.ok() && facts->banner.empty()) std::abort();
  return 0;
}
