#include "loader/target_kernel.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

class TargetKernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root_);
    Write("/boot/vmlinuz", MakeWholeKernel());
    Write("/boot/initrd.img", "070701 and more");
    Write(absl::StrCat("/boot/config-", kTestRelease), "CONFIG_KVM_AMD=m\n");
    const std::string modules = absl::StrCat("/lib/modules/", kTestRelease);
    Write(modules + "/modules.dep", "kernel/arch/x86/kvm/kvm-amd.ko:\n");
    Write(modules + "/modules.builtin", "");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string Write(const std::string& path, const std::string& bytes) {
    std::string whole = root_ + path;
    std::filesystem::create_directories(
        std::filesystem::path(whole).parent_path());
    std::ofstream(whole, std::ios::binary) << bytes;
    return whole;
  }

  TargetRequest Request() const {
    return {.kernel_path = root_ + "/boot/vmlinuz",
            .initrd_path = root_ + "/boot/initrd.img",
            .running_command_line = "BOOT_IMAGE=x ro memmap=1G!1G",
            .append = "quiet",
            .root = root_};
  }

  const std::string root_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(TargetKernelTest, ReadsAllParts) {
  const TargetKernel target = ReadTargetKernel(Request());
  EXPECT_THAT(target.image, IsOk());
  EXPECT_TRUE(target.kernel.ok());
  EXPECT_TRUE(target.initrd.ok());
  EXPECT_EQ(target.initrd_bytes.value_or(0), 15u);
  EXPECT_THAT(target.command_line_status, IsOk());
  EXPECT_EQ(target.command_line, "ro memmap=1G!1G quiet");
  EXPECT_EQ(target.release(), kTestRelease);
  ASSERT_THAT(target.config, IsOk());
  EXPECT_EQ(target.config->Get("KVM_AMD"), "m");
  ASSERT_THAT(target.modules, IsOk());
  EXPECT_TRUE(target.modules->Has("kvm_amd"));
}

TEST_F(TargetKernelTest, OneErrorDoesNotHideTheOthers) {
  TargetRequest request = Request();
  request.kernel_path = root_ + "/boot/none";
  request.initrd_path = root_ + "/boot";
  request.append = "memmap=1G!8G";
  const TargetKernel target = ReadTargetKernel(request);
  EXPECT_THAT(target.image,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/boot/none")));
  EXPECT_THAT(target.initrd_bytes, StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("not a file")));
  EXPECT_THAT(target.command_line_status,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("memmap=1G!8G")));
  EXPECT_FALSE(target.config.ok());
}

TEST_F(TargetKernelTest, DoesNotHangOnAPipe) {
  TargetRequest request = Request();
  request.kernel_path = root_ + "/boot/pipe";
  ASSERT_EQ(mkfifo(request.kernel_path.c_str(), 0600), 0);
  EXPECT_THAT(ReadTargetKernel(request).image,
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(TargetKernelTest, NeedsNoInitrd) {
  TargetRequest request = Request();
  request.initrd_path = "";
  const TargetKernel target = ReadTargetKernel(request);
  EXPECT_FALSE(target.initrd.ok());
  EXPECT_EQ(target.initrd_bytes.value_or(1), 0u);
}

TEST_F(TargetKernelTest, DoesNotFollowAReleaseOutOfItsFolders) {
  TestBzImage hostile;
  hostile.version = "../../etc";
  Write("/boot/vmlinuz", MakeBzImage(hostile));
  const TargetKernel target = ReadTargetKernel(Request());
  EXPECT_THAT(target.config, StatusIs(absl::StatusCode::kNotFound,
                                      HasSubstr("release is not known")));
}

TEST(CheckInitrdTest, KnowsWhatTheKernelUnpacks) {
  EXPECT_THAT(CheckInitrd("070701"), IsOk());
  EXPECT_THAT(CheckInitrd("\x28\xb5\x2f\xfd"), IsOk());
  EXPECT_THAT(CheckInitrd("\x1f\x8b"), IsOk());
  EXPECT_THAT(CheckInitrd(""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  EXPECT_THAT(CheckInitrd("MZ is a kernel"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4d5a")));
}

}  // namespace
}  // namespace live_update::loader
