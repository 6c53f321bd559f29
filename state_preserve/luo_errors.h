// What the Live Update Orchestrator's errno values mean, call by call, and what
// to do about them. They come from kernel/liveupdate/ and mm/memfd_luo.c of
// Linux 7.3; the kernel and its fake share them.

#ifndef STATE_PRESERVE_LUO_ERRORS_H_
#define STATE_PRESERVE_LUO_ERRORS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace live_update {

// luo_device.h says which codes they come as.
absl::Status LuoOpenError(int error, const std::string& device_path);
absl::Status LuoCreateError(int error, const std::string& name);
absl::Status LuoRetrieveSessionError(int error, const std::string& name);
absl::Status LuoPreserveError(int error, uint64_t token, const UniqueFd& file);
absl::Status LuoRetrieveError(int error, uint64_t token);
absl::Status LuoFinishError(int error);

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_ERRORS_H_
