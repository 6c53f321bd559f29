// The new kernel's side of a live update: from a handover to running VMs.
// live_update.h mirrors it.

#ifndef HOST_UPDATE_RESTORE_H_
#define HOST_UPDATE_RESTORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"
#include "host_update/restore_attempts.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// Restores all VMs of the handover that the last kernel left, each on its own:
// what fails for one does not hold up another. A VM that is not restored is in
// the report with the reason, and its memory and state stay protected for
// RetryVm or DiscardVm. A handover that can't be trusted starts no VM and stays
// as it is (result HANDOVER_REFUSED). Runs again after it was cut off: VMs that
// run already from their preserved memory count as restored. After two attempts
// that came to no end, an automatic one starts no VM, keeps everything and says
// so (result PARTIAL, restore_attempts.h).
//
// kNotFound: there is no handover; nothing was done. Any other error: nothing
// could be tried. `first_line` is when this program began.
// The caller holds the RunLock.
absl::StatusOr<UpdateReport> RestoreAll(const ClockSample& first_line,
                                        const Dependencies& deps,
                                        Attempt attempt = Attempt::kAutomatic);

// Restores one VM that an earlier restore could not. kNotFound: no protected
// state of a VM of this name or UUID.
absl::StatusOr<UpdateReport> RetryVm(const std::string& name_or_uuid,
                                     const Dependencies& deps);

// Gives up one VM that was not restored: frees its memory and state.
// kNotFound as above.
absl::Status DiscardVm(const std::string& name_or_uuid,
                       const Dependencies& deps);

// Whether VMs wait to be restored: those of the last kernel's handover, and
// others that were not restored before.
absl::StatusOr<bool> VmsWait(const Dependencies& deps);

// Keeps libvirtd from starting VMs by itself if VMs wait to be restored: a VM
// that booted from its disk could not be restored any more. Returns whether it
// did. To be called before libvirtd starts.
absl::StatusOr<bool> HoldAutostart(const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_RESTORE_H_
