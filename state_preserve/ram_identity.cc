#include "state_preserve/ram_identity.h"

#include <sys/stat.h>

#include <cerrno>

namespace live_update {

absl::StatusOr<RamIdentity> IdentityOf(const UniqueFd& fd) {
  struct stat stat {};
  if (fstat(fd.get(), &stat) != 0) return absl::ErrnoToStatus(errno, "fstat");
  return RamIdentity{.device = stat.st_dev,
                     .inode = stat.st_ino,
                     .size_bytes = static_cast<uint64_t>(stat.st_size)};
}

}  // namespace live_update
