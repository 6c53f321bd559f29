#include "loader/linux_kexec.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

class KexecFilesTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  const std::string root_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(KexecFilesTest, ReadsThePolicy) {
  Write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  Write("/proc/sys/kernel/kexec_load_disabled", "1\n");
  const KexecPolicy policy = ReadKexecPolicy(root_);
  EXPECT_EQ(policy.lockdown, "integrity");
  EXPECT_EQ(policy.load_disabled, "1");
  EXPECT_EQ(policy.load_limit, "");
}

TEST_F(KexecFilesTest, ReadsWhetherOnlySignedKernelsAreTaken) {
  Write("/proc/sys/kernel/osrelease", "6.1.0-56-amd64\n");
  Write("/boot/config-6.1.0-56-amd64", "# CONFIG_KEXEC_SIG_FORCE is not set\n");
  EXPECT_FALSE(ReadKexecPolicy(root_).signature_forced);
  Write("/boot/config-6.1.0-56-amd64", "CONFIG_KEXEC_SIG_FORCE=y\n");
  EXPECT_TRUE(ReadKexecPolicy(root_).signature_forced);
}

TEST_F(KexecFilesTest, ReadsWhetherAKernelIsStaged) {
  Write("/sys/kernel/kexec_loaded", "1\n");
  ASSERT_OK_AND_ASSIGN(const bool staged, ReadKexecLoaded(root_));
  EXPECT_TRUE(staged);
}

TEST_F(KexecFilesTest, ReadsTheNewerKernelsFile) {
  Write("/sys/kernel/kexec/loaded", "0\n");
  ASSERT_OK_AND_ASSIGN(const bool staged, ReadKexecLoaded(root_));
  EXPECT_FALSE(staged);
}

TEST_F(KexecFilesTest, SaysThatThereIsNoKexec) {
  EXPECT_THAT(ReadKexecLoaded(root_),
              StatusIs(absl::StatusCode::kUnimplemented, _));
}

TEST(StageErrorTest, MeansWhatTheInterfacePromises) {
  EXPECT_THAT(StageError(ENOEXEC, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(StageError(EINVAL, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(
      StageError(EKEYREJECTED, {}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("signature")));
  EXPECT_THAT(StageError(ENOMEM, {}),
              StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(StageError(EADDRNOTAVAIL, {}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("kho_scratch=")));
  EXPECT_THAT(StageError(EBUSY, {}),
              StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST(StageErrorTest, TellsTheCausesOfEpermApart) {
  const auto says = [](const char* text) {
    return StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(text));
  };
  EXPECT_THAT(
      StageError(EPERM,
                 {.lockdown = "", .load_disabled = "1", .load_limit = ""}),
      says("kexec_load_disabled is 1"));
  EXPECT_THAT(
      StageError(EPERM,
                 {.lockdown = "", .load_disabled = "0", .load_limit = "0"}),
      says("kexec_load_limit_reboot is used up"));
  EXPECT_THAT(StageError(EPERM, {.lockdown = "integrity",
                                 .load_disabled = "0",
                                 .load_limit = "-1"}),
              says("locked down (integrity)"));
  EXPECT_THAT(StageError(EPERM, {}), says("as root"));
}

}  // namespace
}  // namespace live_update::loader
