// A Kexec that keeps what is staged and can be made to fail. Its jump returns.

#ifndef TESTING_FAKE_KEXEC_H_
#define TESTING_FAKE_KEXEC_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "loader/kexec.h"
#include "loader/phys_range.h"

namespace live_update::testing {

class FakeKexec final : public loader::Kexec {
 public:
  struct Image {
    uint64_t kernel_bytes = 0;
    uint64_t initrd_bytes = 0;
    std::string command_line;
    std::optional<loader::DirectEntry> direct;  // Unset: by kexec_file_load.
  };

  // The next call of that kind fails with `status` and changes nothing.
  void FailNextStage(absl::Status status);
  void FailNextUnstage(absl::Status status);
  void FailNextIsStaged(absl::Status status);
  void FailNextJump(absl::Status status);

  // Stages what some other program would have.
  void StageForeign();

  // Called in a jump that succeeds, before it returns: the last moment at which
  // a test can look at what the old kernel leaves.
  void OnJump(std::function<void()> observer);

  // As it is in the next kernel: nothing is staged, it has not jumped.
  void Boot();

  std::optional<Image> staged() const;
  bool jumped() const;
  int stage_count() const;  // Calls, whether or not they succeeded.
  int unstage_count() const;
  int jump_count() const;

  absl::Status StageFile(const UniqueFd& kernel, const UniqueFd& initrd,
                         const std::string& command_line) override;
  absl::Status StageDirect(
      const UniqueFd& kernel, const UniqueFd& initrd,
      const std::string& command_line, loader::DirectEntry entry,
      const std::vector<loader::PhysRange>& untouched) override;
  absl::Status Unstage() override;
  absl::StatusOr<bool> IsStaged() override;
  // OK if it "jumped", which a real one never returns.
  absl::Status Jump() override;

 private:
  mutable std::mutex mutex_;
  std::optional<Image> staged_;
  bool jumped_ = false;
  int stage_count_ = 0;
  int unstage_count_ = 0;
  int jump_count_ = 0;
  absl::Status next_stage_;
  absl::Status next_unstage_;
  absl::Status next_is_staged_;
  absl::Status next_jump_;
  std::function<void()> on_jump_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAKE_KEXEC_H_
