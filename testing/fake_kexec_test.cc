#include "testing/fake_kexec.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::testing {
namespace {

UniqueFd FileOf(off_t bytes) {
  UniqueFd fd(memfd_create("kernel", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), bytes), 0);
  return fd;
}

TEST(FakeKexecTest, KeepsWhatIsStaged) {
  FakeKexec kexec;
  ASSERT_THAT(kexec.StageFile(FileOf(100), FileOf(20), "quiet"), IsOk());
  ASSERT_TRUE(kexec.staged().has_value());
  EXPECT_EQ(kexec.staged()->kernel_bytes, 100u);
  EXPECT_EQ(kexec.staged()->initrd_bytes, 20u);
  EXPECT_EQ(kexec.staged()->command_line, "quiet");
  ASSERT_OK_AND_ASSIGN(const bool staged, kexec.IsStaged());
  EXPECT_TRUE(staged);
  EXPECT_THAT(kexec.Unstage(), IsOk());
  EXPECT_FALSE(kexec.staged().has_value());
}

TEST(FakeKexecTest, JumpsOnlyIntoAStagedKernel) {
  FakeKexec kexec;
  EXPECT_THAT(kexec.Jump(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                     ::testing::HasSubstr("staged")));
  ASSERT_THAT(kexec.StageFile(FileOf(1), UniqueFd(), ""), IsOk());
  bool seen = false;
  kexec.OnJump([&] { seen = kexec.jumped(); });
  EXPECT_THAT(kexec.Jump(), IsOk());
  EXPECT_TRUE(seen);
  kexec.Boot();
  EXPECT_FALSE(kexec.jumped());
  EXPECT_FALSE(kexec.staged().has_value());
}

TEST(FakeKexecTest, FailsOnceAndKeepsItsState) {
  FakeKexec kexec;
  kexec.StageForeign();
  kexec.FailNextStage(absl::UnavailableError("busy"));
  EXPECT_THAT(kexec.StageFile(FileOf(1), FileOf(1), "x"),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  EXPECT_EQ(kexec.staged()->command_line, "foreign");
  kexec.FailNextJump(absl::UnavailableError("busy"));
  EXPECT_THAT(kexec.Jump(),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  EXPECT_FALSE(kexec.jumped());
  EXPECT_THAT(kexec.Jump(), IsOk());
  EXPECT_EQ(kexec.jump_count(), 2);
  EXPECT_EQ(kexec.stage_count(), 1);
}

}  // namespace
}  // namespace live_update::testing
