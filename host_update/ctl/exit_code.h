// What hostupdatectl's exit status says; the numbers of host-update, and 8. A
// script needs to tell "failed, but no VM is harmed" from "a VM is not back"
// and from "it is not known".

#ifndef HOST_UPDATE_CTL_EXIT_CODE_H_
#define HOST_UPDATE_CTL_EXIT_CODE_H_

namespace live_update::ctl {

enum class ExitCode : int {
  kOk = 0,
  kFailedUnharmed = 1,  // Nothing changed, or all of it was taken back.
  kNothingToDo = 2,
  kNoGo = 3,      // The check found an error.
  kNoDaemon = 4,  // Not reached, or it did not say in time how it went.
  kNoPermission = 5,
  kVmNotBack = 6,   // A VM does not run that ran before.
  kAborted = 7,     // On request; VMs run as before.
  kOverBudget = 8,  // The blackout would exceed --max-blackout.
  kBusy = 9,        // Another operation is under way.
  kUsage = 64,
};

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_EXIT_CODE_H_
