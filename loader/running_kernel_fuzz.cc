// The start of a /proc/kcore. What is told of it must be a kernel's size.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "loader/elf_kernel.h"
#include "loader/running_kernel.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = live_update::loader::FindKcoreText({data, size});
  if (text.ok() &&
      (text->size_bytes == 0 || text->size_bytes > (uint64_t{256} << 20))) {
    std::abort();
  }
  // /sys/kernel/notes has the same shape of notes as the rest of a core.
  const std::string id = live_update::loader::GnuBuildId({data, size});
  if (id.size() > 128) std::abort();
  return 0;
}
