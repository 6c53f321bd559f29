// Kexec by the running Linux kernel.

#ifndef LOADER_LINUX_KEXEC_H_
#define LOADER_LINUX_KEXEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "loader/kexec.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// What the kernel says of its own rules; "" for what it does not say.
struct KexecPolicy {
  std::string lockdown;       // "none", "integrity" or "confidentiality".
  std::string load_disabled;  // kernel.kexec_load_disabled: "0" or "1".
  std::string load_limit;  // kernel.kexec_load_limit_reboot: "-1" is no limit.
  bool signature_forced = false;  // CONFIG_KEXEC_SIG_FORCE, in /boot/config-….
};

// Reads it below `root` ("" but in tests).
KexecPolicy ReadKexecPolicy(const std::string& root);

bool IsLockedDown(const KexecPolicy& policy);

// Whether the kernel below `root` says that an image is staged. kUnimplemented:
// it has no kexec.
absl::StatusOr<bool> ReadKexecLoaded(const std::string& root);

// Which of the causes of EPERM `policy` tells of, `call` being what got it.
absl::Status NotPermitted(absl::string_view call, const KexecPolicy& policy);

// What an errno of kexec_file_load(2) means, and what to do about it.
absl::Status StageError(int error, const KexecPolicy& policy);

// kexec_file_load(2) with `flags`, and without an initrd if `initrd` is not ok.
// Returns 0, or the errno.
int FileLoad(const UniqueFd& kernel, const UniqueFd& initrd,
             const std::string& command_line, uint64_t flags);

class LinuxKexec final : public Kexec {
 public:
  absl::Status StageFile(const UniqueFd& kernel, const UniqueFd& initrd,
                         const std::string& command_line) override;
  absl::Status StageDirect(const UniqueFd& kernel, const UniqueFd& initrd,
                           const std::string& command_line, DirectEntry entry,
                           const std::vector<PhysRange>& untouched) override;
  absl::Status Unstage() override;
  absl::StatusOr<bool> IsStaged() override;
  absl::Status Jump() override;
};

}  // namespace live_update::loader

#endif  // LOADER_LINUX_KEXEC_H_
