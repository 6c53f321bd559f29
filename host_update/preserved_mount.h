// The file system that the preserved memory lies in, and the physical memory
// under it.

#ifndef HOST_UPDATE_PRESERVED_MOUNT_H_
#define HOST_UPDATE_PRESERVED_MOUNT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "loader/phys_range.h"

namespace live_update {

// One line of /proc/1/mountinfo.
struct Mount {
  uint32_t major = 0;
  uint32_t minor = 0;
  std::string root;  // What of the file system is seen: "/", a subvolume.
  std::string mount_point;
  std::vector<std::string> mount_options;  // "rw", "noatime"
  std::string file_system;                 // "ext4"
  std::string source;                      // "/dev/pmem0"
  std::vector<std::string> options;        // Of the file system.
};

// kInvalidArgument: malformed, with the line.
absl::StatusOr<std::vector<Mount>> ParseMountinfo(absl::string_view text);

// As the host's init sees them: a unit of ours may have /usr mounted apart, and
// read-only. Below `root` ("" but in tests).
absl::StatusOr<std::vector<Mount>> ReadMounts(const std::string& root);

// The mount that `path`, absolute, lies in: of those that contain it the
// longest, of those at the same place the last. Null if there is none.
const Mount* MountOf(const std::vector<Mount>& mounts, absl::string_view path);

struct PreservedMount {
  enum class Dax {
    kNever,    // Files lie in the page cache: gone with this kernel.
    kAlways,   // Files are the memory.
    kPerFile,  // dax=inode: only files that carry the flag.
  };
  std::string directory;  // As asked for.
  Mount mount;
  Dax dax = Dax::kNever;
  uint64_t device = 0;  // st_dev of what lies in it.
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  // Of the pmem device (the partition, if it is on one). kFailedPrecondition:
  // the file system is not on one.
  absl::StatusOr<loader::PhysRange> range = absl::UnknownError("not read");
};

// Reads it. kNotFound: no such directory.
absl::StatusOr<PreservedMount> ReadPreservedMount(const std::string& root,
                                                  const std::string& directory);

}  // namespace live_update

#endif  // HOST_UPDATE_PRESERVED_MOUNT_H_
