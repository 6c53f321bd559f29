// pause, save, commit: what happens to each VM between its last instruction in
// the old kernel and a handover that is valid.

#ifndef HOST_UPDATE_SAVE_H_
#define HOST_UPDATE_SAVE_H_

#include <vector>

#include "absl/status/status.h"
#include "host_update/dependencies.h"
#include "host_update/journal.pb.h"
#include "host_update/prepare.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// Pauses one VM, unless it was paused before, and notes when.
absl::Status PauseVm(PreparedVm& vm, const Dependencies& deps);

// kAborted if a VM runs now that is not part of `update`: it was started, or
// resumed, since the check.
absl::Status RefuseNewcomers(const PreparedUpdate& update,
                             const Dependencies& deps);

// Takes a paused VM's state out of QEMU, proves that its RAM is the memory that
// was preserved, digests that as deps.handover asks, and adds it all to the
// handover of `update`. The VM, one of update.vms, stays paused. Threads may
// save different VMs at the same time.
absl::Status SaveVm(const PreparedUpdate& update, const PreparedVm& vm,
                    const Dependencies& deps);

// Makes the handover valid. From here on the next kernel will restore from it,
// until it is revoked.
absl::Status Commit(PreparedUpdate& update, const ClockSample& started,
                    const std::vector<RecordedSpan>& spans,
                    const Journal& journal, const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_SAVE_H_
