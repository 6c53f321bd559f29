// A CrashKexec that keeps what is staged.

#ifndef TESTING_FAKE_CRASH_KEXEC_H_
#define TESTING_FAKE_CRASH_KEXEC_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "loader/crash_kexec.h"

namespace live_update::testing {

struct FakeCrashKexec final : public loader::CrashKexec {
  uint64_t reserved_bytes = uint64_t{1} << 30;
  std::optional<std::string> staged;  // Its command line.
  absl::Status next_stage;            // What comes of it.

  absl::StatusOr<uint64_t> ReservedBytes() override { return reserved_bytes; }
  absl::StatusOr<bool> IsStaged() override { return staged.has_value(); }
  absl::Status Stage(const UniqueFd& kernel, const UniqueFd& initrd,
                     const std::string& command_line) override {
    if (!kernel.ok() || !initrd.ok()) return absl::InternalError("no file");
    if (next_stage.ok()) staged = command_line;
    return next_stage;
  }
  absl::Status Unstage() override {
    staged.reset();
    return absl::OkStatus();
  }
};

}  // namespace live_update::testing

#endif  // TESTING_FAKE_CRASH_KEXEC_H_
