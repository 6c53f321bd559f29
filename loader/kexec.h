// The system calls that leave this kernel: the one seam at which a test puts
// FakeKexec (testing/fake_kexec.h).

#ifndef LOADER_KEXEC_H_
#define LOADER_KEXEC_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// Where the loader's own jump enters a kernel (direct_image.h).
enum class DirectEntry { kVmlinux, kBzImage };

class Kexec {
 public:
  virtual ~Kexec() = default;

  // Stages `kernel` (a bzImage) and `initrd` with `command_line`, by
  // kexec_file_load(2). Replaces what was staged. The fds stay the caller's.
  // kInvalidArgument: the kernel refused the image (ENOEXEC, EINVAL);
  // kPermissionDenied: no CAP_SYS_BOOT, no valid signature, or locked down;
  // kResourceExhausted: no memory or no place for it; kUnavailable: another
  // load is under way (EBUSY). On failure nothing of ours is staged.
  virtual absl::Status StageFile(const UniqueFd& kernel, const UniqueFd& initrd,
                                 const std::string& command_line) = 0;

  // The same by kexec_load(2) and the loader's own placement: no signature is
  // checked, no handover of the kernel's own (KHO) goes along. Nothing is
  // placed in `untouched`, nor in anything else than System RAM. Also
  // kFailedPrecondition: this host's or kernel's state does not allow it.
  virtual absl::Status StageDirect(const UniqueFd& kernel,
                                   const UniqueFd& initrd,
                                   const std::string& command_line,
                                   DirectEntry entry,
                                   const std::vector<PhysRange>& untouched) = 0;

  // Unstages whatever is staged. OK if nothing is.
  virtual absl::Status Unstage() = 0;

  // Whether a kernel is staged, by whomever (/sys/kernel/kexec_loaded).
  virtual absl::StatusOr<bool> IsStaged() = 0;

  // Jumps into the staged kernel. Returns only on failure; everything runs on
  // then.
  virtual absl::Status Jump() = 0;
};

}  // namespace live_update::loader

#endif  // LOADER_KEXEC_H_
