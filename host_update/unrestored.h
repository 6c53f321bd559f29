// VMs that an update carried over and that are not back.

#ifndef HOST_UPDATE_UNRESTORED_H_
#define HOST_UPDATE_UNRESTORED_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/hypervisor.h"

namespace live_update {

struct UnrestoredVm {
  std::string name;  // Its UUID if it is not among the VMs that were given.
  std::string uuid;
  std::string update_id;  // Empty: a copy of it waits, of whichever update.
  // A restart of QEMU left it, not an update: no report knows of it.
  bool qemu_restart = false;
};

// Those whose memory and state are kept, those of one update together. Names
// are looked up in `vms`. None without preserved memory: a host is checked
// before it has any. Fails as PreservedMemory::Unfinished() does.
absl::StatusOr<std::vector<UnrestoredVm>> FindUnrestoredVms(
    const std::vector<VmInfo>& vms, const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_UNRESTORED_H_
