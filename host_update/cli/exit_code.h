// What the exit status of host-update and hostupdatectl says. A script needs to
// tell "failed, but no VM is harmed" from "a VM is not back" and from "it is
// not known".

#ifndef HOST_UPDATE_CLI_EXIT_CODE_H_
#define HOST_UPDATE_CLI_EXIT_CODE_H_

namespace live_update {

enum class ExitCode : int {
  kOk = 0,
  kFailedUnharmed = 1,  // Nothing changed, or all of it was taken back.
  kNothingToDo = 2,
  kNoGo = 3,          // The check found an error.
  kNoHypervisor = 4,  // host-update: libvirt can't be reached.
  kNoDaemon = 4,      // hostupdatectl: hostupdated isn't reached, or did not
                      // say in time how it went.
  kNoPermission = 5,
  kVmNotBack = 6,   // A VM does not run that ran before.
  kAborted = 7,     // On request (SIGINT, SIGTERM); VMs run as before.
  kOverBudget = 8,  // The blackout is predicted to exceed its limit.
  kBusy = 9,        // Another update, restore or abort is under way.
  kUsage = 64,
};

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_EXIT_CODE_H_
