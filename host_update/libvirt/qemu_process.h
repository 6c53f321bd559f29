// The QEMU process of a VM, as the host sees it: its pid and user, and the
// memory it has mapped. Private to this folder.

#ifndef HOST_UPDATE_LIBVIRT_QEMU_PROCESS_H_
#define HOST_UPDATE_LIBVIRT_QEMU_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "host_update/hypervisor.h"
#include "host_update/qemu/qmp.h"

namespace live_update {

struct QemuProcess {
  pid_t pid = -1;
  uid_t uid = 0;  // Effective.
  gid_t gid = 0;
  uint64_t started = 0;  // Clock ticks after boot.
};

// By libvirt's pid file in `pid_directory`, which only root can write; the
// process must have the VM's UUID on its command line, so that a file left by a
// dead QEMU is not believed. kNotFound: there is no such process.
absl::StatusOr<QemuProcess> FindQemuProcess(const VmRef& vm,
                                            absl::string_view pid_directory);

// Opens the memory that process `pid` has mapped at `address`, for reading and
// writing: the same inode, whatever it is called and wherever it is linked.
// kFailedPrecondition: what is there is no file, or shorter than `size_bytes`.
absl::StatusOr<UniqueFd> OpenMappedFile(pid_t pid, uint64_t address,
                                        uint64_t size_bytes);

// The guest's RAM as `qmp`'s QEMU has it, by its memory backends. A shared
// block whose memory could not be opened comes without fd; why is appended to
// `problems`. Has the kernel walk QEMU's page tables (smaps) to count huge
// pages.
absl::StatusOr<std::vector<GuestRam>> FindGuestRam(
    Qmp& qmp, pid_t pid, std::vector<std::string>& problems,
    absl::Time deadline);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_QEMU_PROCESS_H_
