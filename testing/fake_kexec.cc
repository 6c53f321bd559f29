#include "testing/fake_kexec.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/status_macros.h"

namespace live_update::testing {
namespace {

absl::Status Take(absl::Status& next) {
  return std::exchange(next, absl::OkStatus());
}

absl::StatusOr<uint64_t> SizeOf(const UniqueFd& fd) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, "kexec_file_load");
  }
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

void FakeKexec::FailNextStage(absl::Status status) {
  std::lock_guard lock(mutex_);
  next_stage_ = std::move(status);
}

void FakeKexec::FailNextUnstage(absl::Status status) {
  std::lock_guard lock(mutex_);
  next_unstage_ = std::move(status);
}

void FakeKexec::FailNextIsStaged(absl::Status status) {
  std::lock_guard lock(mutex_);
  next_is_staged_ = std::move(status);
}

void FakeKexec::FailNextJump(absl::Status status) {
  std::lock_guard lock(mutex_);
  next_jump_ = std::move(status);
}

void FakeKexec::StageForeign() {
  std::lock_guard lock(mutex_);
  staged_ = Image{.command_line = "foreign"};
}

void FakeKexec::OnJump(std::function<void()> observer) {
  std::lock_guard lock(mutex_);
  on_jump_ = std::move(observer);
}

void FakeKexec::Boot() {
  std::lock_guard lock(mutex_);
  staged_.reset();
  jumped_ = false;
}

std::optional<FakeKexec::Image> FakeKexec::staged() const {
  std::lock_guard lock(mutex_);
  return staged_;
}

bool FakeKexec::jumped() const {
  std::lock_guard lock(mutex_);
  return jumped_;
}

int FakeKexec::stage_count() const {
  std::lock_guard lock(mutex_);
  return stage_count_;
}

int FakeKexec::unstage_count() const {
  std::lock_guard lock(mutex_);
  return unstage_count_;
}

int FakeKexec::jump_count() const {
  std::lock_guard lock(mutex_);
  return jump_count_;
}

absl::Status FakeKexec::StageFile(const UniqueFd& kernel,
                                  const UniqueFd& initrd,
                                  const std::string& command_line) {
  std::lock_guard lock(mutex_);
  ++stage_count_;
  LU_RETURN_IF_ERROR(Take(next_stage_));
  Image image{.command_line = command_line};
  LU_ASSIGN_OR_RETURN(image.kernel_bytes, SizeOf(kernel));
  if (initrd.ok()) {
    LU_ASSIGN_OR_RETURN(image.initrd_bytes, SizeOf(initrd));
  }
  staged_ = std::move(image);
  return absl::OkStatus();
}

absl::Status FakeKexec::StageDirect(
    const UniqueFd& kernel, const UniqueFd& initrd,
    const std::string& command_line, loader::DirectEntry entry,
    const std::vector<loader::PhysRange>& /*untouched*/) {
  LU_RETURN_IF_ERROR(StageFile(kernel, initrd, command_line));
  std::lock_guard lock(mutex_);
  staged_->direct = entry;
  return absl::OkStatus();
}

absl::Status FakeKexec::Unstage() {
  std::lock_guard lock(mutex_);
  ++unstage_count_;
  LU_RETURN_IF_ERROR(Take(next_unstage_));
  staged_.reset();
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeKexec::IsStaged() {
  std::lock_guard lock(mutex_);
  LU_RETURN_IF_ERROR(Take(next_is_staged_));
  return staged_.has_value();
}

absl::Status FakeKexec::Jump() {
  std::function<void()> observer;
  {
    std::lock_guard lock(mutex_);
    ++jump_count_;
    LU_RETURN_IF_ERROR(Take(next_jump_));
    if (!staged_.has_value()) {
      return absl::FailedPreconditionError(
          "reboot(KEXEC): no kernel is staged");
    }
    jumped_ = true;
    observer = on_jump_;
  }
  if (observer) observer();
  return absl::OkStatus();
}

}  // namespace live_update::testing
