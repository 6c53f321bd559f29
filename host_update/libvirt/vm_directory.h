// The folder in which one VM's sockets and save image are made. Private to this
// folder.

#ifndef HOST_UPDATE_LIBVIRT_VM_DIRECTORY_H_
#define HOST_UPDATE_LIBVIRT_VM_DIRECTORY_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

// Empty when made: what a run that was killed left there is removed. Others can
// pass through it and its parents (mode 0711) but see and write nothing: who
// could put a socket there would get the VM's memory. Removed with all that is
// in it when the object goes.
class VmDirectory {
 public:
  // kInvalidArgument: `uuid` is none, and so no name for a folder.
  static absl::StatusOr<std::unique_ptr<VmDirectory>> Create(
      const std::string& runtime_directory, const std::string& uuid);
  ~VmDirectory();

  VmDirectory(const VmDirectory&) = delete;
  VmDirectory& operator=(const VmDirectory&) = delete;

  const std::string& path() const { return path_; }

  // A folder in it that belongs to `uid` and `gid` alone; its path.
  absl::StatusOr<std::string> MakeFor(absl::string_view name, uid_t uid,
                                      gid_t gid) const;

 private:
  VmDirectory(std::string parent, std::string uuid);

  const std::string parent_;
  const std::string uuid_;
  const std::string path_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_VM_DIRECTORY_H_
