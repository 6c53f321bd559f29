// Which memory a block of guest RAM is.

#ifndef STATE_PRESERVE_RAM_IDENTITY_H_
#define STATE_PRESERVE_RAM_IDENTITY_H_

#include <sys/stat.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update {

// Which bytes a RAM block is. Equal before and after means: the same memory,
// never copied. `device` and `inode` as in stat(2).
//
// Within one kernel all three are compared. Over a kexec a backend compares
// those that stand over it, RetrieveRam() does it, and its README says which:
// dax inode and size (and that the file system is the one in which the set was
// found); luo size and token, as a retrieved memfd is a new inode.
struct RamIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;

  friend bool operator==(const RamIdentity&, const RamIdentity&) = default;
};

RamIdentity IdentityOf(const struct stat& file);

// Of the file that `fd` has open. Fails by errno of fstat(2).
absl::StatusOr<RamIdentity> IdentityOf(const UniqueFd& fd);

}  // namespace live_update

#endif  // STATE_PRESERVE_RAM_IDENTITY_H_
