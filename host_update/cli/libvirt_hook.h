// host-update as libvirt's qemu hook.

#ifndef HOST_UPDATE_CLI_LIBVIRT_HOOK_H_
#define HOST_UPDATE_CLI_LIBVIRT_HOOK_H_

#include "host_update/cli/options.h"

namespace live_update {

// "restore begin" and "migrate begin": reads the domain's XML from standard
// input and prints the one to use instead, if any. "release end": frees the
// preserved memory of VMs that have stopped. Exit status 0 whatever happens:
// libvirt would take anything else for a veto. Doesn't talk to libvirt, which
// waits for it.
int RunLibvirtHook(const Options& options);

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_LIBVIRT_HOOK_H_
