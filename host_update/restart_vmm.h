// A new QEMU under running VMs, the kernel the same: save and restore of a live
// update with no kexec between. README.md, "A new QEMU alone".

#ifndef HOST_UPDATE_RESTART_VMM_H_
#define HOST_UPDATE_RESTART_VMM_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "host_update/journal.pb.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// Takes each of `vms` (names or UUIDs; none: all that run or are paused) into a
// new QEMU of the installed version, one after the other. Of `request` it takes
// backend, overrides and state_bytes_per_vm. A VM that its check refuses, or
// whose save fails, runs on as before, and the next one has its turn. After one
// that does not run again no further one is begun: the new QEMU may be to
// blame. Its memory and state are kept for `restore --retry`.
//
// VM_NOT_BACK without VMs: what was cut off earlier could not be put right.
//
// An error: no VM was touched. kInvalidArgument: there is no VM of that name,
// or it is off; kNotFound: none was named, and none runs; kUnimplemented: not
// with this backend. The caller holds the RunLock. An update that was cut off
// earlier is undone first.
absl::StatusOr<RestartReport> RestartVmm(const UpdateRequest& request,
                                         const std::vector<std::string>& vms,
                                         const Dependencies& deps);

// Goes on with a restart that was cut off when its old QEMU may have been told
// to end (`journal` says so): ends it and restores the VM from what was saved
// or, should the VM have been resumed meanwhile, lets it run on. kInternal: the
// VM does not run; the message says what is kept and what to do.
absl::Status FinishInterruptedRestart(const Journal& journal,
                                      const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_RESTART_VMM_H_
