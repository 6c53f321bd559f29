// What libvirt keeps by kernel, made valid for the one that comes next.

#ifndef HOST_UPDATE_CLI_NEXT_KERNEL_H_
#define HOST_UPDATE_CLI_NEXT_KERNEL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace live_update {

// libvirtd shall not make VMs wait, in the kernel that comes next, for what
// QEMU has said in this one: its cache is told to be `kernel`'s (as `uname -rv`
// will print it). What was changed is listed in a file of `state_dir`, by which
// host-update-libvirt-again.service has it asked anew when VMs run. If the next
// kernel is another one after all, libvirtd asks as it always does.
void ExpectKernel(absl::string_view kernel, const std::string& state_dir);

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_NEXT_KERNEL_H_
