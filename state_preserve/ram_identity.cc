#include "state_preserve/ram_identity.h"

#include <cerrno>

namespace live_update {

RamIdentity IdentityOf(const struct stat& file) {
  return {.device = file.st_dev,
          .inode = file.st_ino,
          .size_bytes = static_cast<uint64_t>(file.st_size)};
}

absl::StatusOr<RamIdentity> IdentityOf(const UniqueFd& fd) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, "fstat");
  return IdentityOf(file);
}

}  // namespace live_update
