// The loader's own jump: a kernel placed by load_plan and staged by
// kexec_load(2), entered at its 64-bit entry point by our trampoline. The
// kernel that runs reads nothing of the file, so it checks no signature;
// nothing is unpacked in the blackout if the kernel is entered as a vmlinux.

#ifndef LOADER_DIRECT_KEXEC_H_
#define LOADER_DIRECT_KEXEC_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "loader/kexec.h"
#include "loader/linux_kexec.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// Whether this host's rules leave room for it. kPermissionDenied: locked down,
// or the kernel is built to take signed kernels only.
absl::Status CheckDirectAllowed(const KexecPolicy& policy);

// What an errno of kexec_load(2) means, and what to do about it.
absl::Status DirectStageError(int error, const KexecPolicy& policy);

// As Kexec::StageDirect, on this host.
absl::Status StageByKexecLoad(const UniqueFd& kernel, const UniqueFd& initrd,
                              const std::string& command_line,
                              DirectEntry entry,
                              const std::vector<PhysRange>& untouched);

}  // namespace live_update::loader

#endif  // LOADER_DIRECT_KEXEC_H_
