// QMP replies of a hostile QEMU, read by every parser.

#include <cstddef>
#include <cstdint>

#include "host_update/qemu/qmp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view reply(reinterpret_cast<const char*>(data), size);
  (void)live_update::ParseMigrationInfo(reply);
  (void)live_update::ParseMemoryBackends(reply);
  (void)live_update::ParseRamBlocks(reply);
  (void)live_update::ParseBlockJobs(reply);
  (void)live_update::ParseVersion(reply);
  return 0;
}
