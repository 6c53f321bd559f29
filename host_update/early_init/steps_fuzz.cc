#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "host_update/early_init/steps.h"

// What is taken is what would have been written, but for zeros before a number.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto steps =
      live_update::ParseEarlySteps({reinterpret_cast<const char*>(data), size});
  if (!steps.has_value()) return 0;
  const auto again =
      live_update::ParseEarlySteps(live_update::FormatEarlySteps(*steps));
  if (!again.has_value() || again->mounts.size() != steps->mounts.size() ||
      again->modules != steps->modules) {
    abort();
  }
  return 0;
}
