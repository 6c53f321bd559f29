// The update that is about to pause VMs, on the host's own disk. Should the
// host come up without the handover - reset on its way, its memory lost - then
// this alone knows that VMs are missing, and which.

#ifndef HOST_UPDATE_UNDERWAY_H_
#define HOST_UPDATE_UNDERWAY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/host_facts.h"
#include "host_update/hypervisor.h"
#include "host_update/journal.pb.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// On disk when it returns. To be called before the first VM is paused.
absl::Status NoteUnderway(const Journal& journal, const HostFacts& host,
                          const std::string& state_dir);

// It is over: taken back, or restored as far as it can be. OK if there is none.
absl::Status ForgetUnderway(const std::string& state_dir);

// The report of an update that an earlier boot left and no report tells of,
// those of its VMs in it that `vms` says are off. Nothing if there is none. For
// a host on which no handover was found.
absl::StatusOr<std::optional<UpdateReport>> FindLostUpdate(
    const HostFacts& host, const std::vector<VmInfo>& vms,
    const std::string& state_dir);

}  // namespace live_update

#endif  // HOST_UPDATE_UNDERWAY_H_
