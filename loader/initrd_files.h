// Files in front of those of an initrd, for the boot that is staged alone.

#ifndef LOADER_INITRD_FILES_H_
#define LOADER_INITRD_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update::loader {

// A distribution's largest initrd has some 300 MiB.
inline constexpr uint64_t kMaxInitrdBytes = uint64_t{2} << 30;

struct InitrdFile {
  std::string path;   // "host-update/early-init"; folders first.
  uint32_t mode = 0;  // As of stat(2): type and permissions.
  std::string content;
};

// A sealed memfd with `files` as an unpacked cpio archive ("newc"), and after
// it all of `initrd` as it is. The kernel unpacks one after the other, as it
// does with microcode that stands in front (Documentation/driver-api/
// early-userspace/buffer-format.rst). The caller owns it.
//
// kInvalidArgument: a path or file that the format has no room for;
// kResourceExhausted: no memory, or `initrd` is absurdly large.
absl::StatusOr<UniqueFd> PrependFiles(const UniqueFd& initrd,
                                      const std::vector<InitrdFile>& files);

}  // namespace live_update::loader

#endif  // LOADER_INITRD_FILES_H_
