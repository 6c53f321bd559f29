// The Hypervisor over libvirt and its QEMU driver (or, in tests, its test
// driver, which has no QEMU: list, pause, resume and start work there).
//
// libvirt owns the domains before an update and after it; this class asks it to
// suspend, resume and restore them, and talks past it only to QEMU's monitor
// and over the sockets of a cpr-transfer. Every call runs on a thread of its
// own and is given up at its deadline. What it then still does is undone when
// it ends: a VM that a late Pause suspended is resumed, one that a late Restore
// brought up is destroyed.

#ifndef HOST_UPDATE_LIBVIRT_LIBVIRT_HYPERVISOR_H_
#define HOST_UPDATE_LIBVIRT_LIBVIRT_HYPERVISOR_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host_update/hypervisor.h"

namespace live_update {

struct LibvirtOptions {
  // Sockets and save images, a directory per VM. Its parent must exist. Also
  // the mark by which our additions to domain XML are known: the same at every
  // update of a host.
  std::string runtime_directory = "/run/host-update/vm";
  // Where libvirt keeps its QEMUs' pid files and logs.
  std::string pid_directory = "/run/libvirt/qemu";
  std::string log_directory = "/var/log/libvirt/qemu";
  // How long a restore waits for the host's bridges to come up.
  absl::Duration interface_wait = absl::Seconds(15);
};

// Connects to the daemon at `uri` ("qemu:///system"). kUnavailable,
// kPermissionDenied, kDeadlineExceeded: no; libvirt's reason is in the message.
// A connection that breaks later is opened again by the next call.
absl::StatusOr<std::unique_ptr<Hypervisor>> ConnectToLibvirt(
    const std::string& uri, absl::Time deadline, LibvirtOptions options = {});

// The same, but a daemon that can't be reached is waited for until `deadline`:
// it may be on its way up, or be started again by systemd.
absl::StatusOr<std::unique_ptr<Hypervisor>> WaitForLibvirt(
    const std::string& uri, absl::Time deadline, LibvirtOptions options = {});

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_LIBVIRT_HYPERVISOR_H_
