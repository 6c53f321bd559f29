// Replies of a hostile QEMU or guest agent, read by every parser.

#include <cstddef>
#include <cstdint>

#include "host_update/qemu/guest_agent.h"
#include "host_update/qemu/qmp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view reply(reinterpret_cast<const char*>(data), size);
  (void)live_update::ParseMigrationInfo(reply);
  (void)live_update::ParseMemoryBackends(reply);
  (void)live_update::ParseRamBlocks(reply);
  (void)live_update::ParseBlockJobs(reply);
  (void)live_update::ParseVersion(reply);
  (void)live_update::ParseGuestTime(reply);
  (void)live_update::ParseGuestExec(reply);
  (void)live_update::ParseGuestExecStatus(reply);
  return 0;
}
