// One VM from preserved memory to running.

#ifndef HOST_UPDATE_RESTORE_VM_H_
#define HOST_UPDATE_RESTORE_VM_H_

#include "absl/status/status.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

// Restores `vm`. Fills `report`, whose result is RESTORED or NOT_RESTORED; in
// the latter case memory and state stay protected, and `next_step` says whether
// a retry can help. Times are for the caller to put in. `incoming` is used by
// several threads at once. Returns why it is not restored, with the codes of
// Hypervisor::Restore and IncomingPreservation::RetrieveRam.
absl::Status RestoreVm(const IncomingVm& vm, IncomingPreservation& incoming,
                       const Dependencies& deps, VmReport& report);

// Gives up the protection of a restored VM, after checking that QEMU's RAM is
// the preserved memory; the proof goes into `report`. A failure is logged: the
// VM runs, only some memory stays protected for longer.
void SettleVm(const IncomingVm& vm, IncomingPreservation& incoming,
              const Dependencies& deps, VmReport& report);

// Called whenever a restore got on: no watchdog takes it for hung.
void FeedWatchdogs(const Dependencies& deps);

// Puts the next step of a VM that is not restored right if nothing of it is
// kept any more, as when the keeper of luo sessions was killed: there is
// nothing to retry or to discard then. To be asked last. If it can't be found
// out, `report` is left as it is.
void CorrectNextStep(IncomingPreservation& incoming, VmReport& report);

}  // namespace live_update

#endif  // HOST_UPDATE_RESTORE_VM_H_
