// The kernel that takes over should the running one crash.

#ifndef LOADER_CRASH_KEXEC_H_
#define LOADER_CRASH_KEXEC_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update::loader {

// A seam, as kexec.h is.
class CrashKexec {
 public:
  virtual ~CrashKexec() = default;

  // What crashkernel= has set aside. 0: nothing, so that none can be staged.
  virtual absl::StatusOr<uint64_t> ReservedBytes() = 0;

  // Whether one is staged, by whomever.
  virtual absl::StatusOr<bool> IsStaged() = 0;

  // Stages `kernel` (a bzImage) and `initrd` for a crash, by
  // kexec_file_load(2). Replaces what was staged so. It will run in the
  // reserved memory alone. The fds stay the caller's. Codes as of
  // Kexec::StageFile.
  virtual absl::Status Stage(const UniqueFd& kernel, const UniqueFd& initrd,
                             const std::string& command_line) = 0;

  // OK if none is staged.
  virtual absl::Status Unstage() = 0;
};

// By the running Linux kernel.
class LinuxCrashKexec final : public CrashKexec {
 public:
  absl::StatusOr<uint64_t> ReservedBytes() override;
  absl::StatusOr<bool> IsStaged() override;
  absl::Status Stage(const UniqueFd& kernel, const UniqueFd& initrd,
                     const std::string& command_line) override;
  absl::Status Unstage() override;
};

}  // namespace live_update::loader

#endif  // LOADER_CRASH_KEXEC_H_
