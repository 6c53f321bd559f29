#include "loader/running_kernel.h"

#include <elf.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/byte_reader.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kBanner[] =
    "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) "
    "(gcc-12) #1 SMP Debian 6.1.1-1\n";
constexpr size_t kSecondProgramHeader = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);

// A host that runs the test kernel and has nothing but its identity.
class RunningKernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root_);
    Write("/proc/version", kBanner);
    Write("/sys/kernel/notes", MakeBuildIdNote(std::string(20, '\xb1')));
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& bytes) {
    const std::string whole = root_ + path;
    std::filesystem::create_directories(
        std::filesystem::path(whole).parent_path());
    std::ofstream(whole, std::ios::binary) << bytes;
  }

  absl::StatusOr<RunningKernel> Read() const {
    return ReadRunningKernel(root_, kTestRelease);
  }

  const std::string root_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string boot_ = absl::StrCat("/boot/vmlinuz-", kTestRelease);
};

TEST_F(RunningKernelTest, IsTheInstalledImageOfTheSameBuild) {
  Write(boot_, MakeWholeKernel());
  ASSERT_OK_AND_ASSIGN(const RunningKernel kernel, Read());
  EXPECT_EQ(kernel.facts.release, kTestRelease);
  EXPECT_THAT(kernel.facts.abi_strings,
              ElementsAre("kho-v4", "luo-session-v2", "luo-v5", "memfd-v2"));
  EXPECT_THAT(kernel.how, AllOf(HasSubstr(boot_), HasSubstr(kTestBuildId)));
}

TEST_F(RunningKernelTest, LooksInTheModulesFolderAsWell) {
  Write(absl::StrCat("/lib/modules/", kTestRelease, "/vmlinuz"),
        MakeWholeKernel());
  ASSERT_OK_AND_ASSIGN(const RunningKernel kernel, Read());
  EXPECT_THAT(kernel.how, HasSubstr("/lib/modules/"));
}

TEST_F(RunningKernelTest, IsNotAnImageOfAnotherBuild) {
  Write(boot_, MakeWholeKernel());
  Write("/sys/kernel/notes", MakeBuildIdNote(std::string(20, '\xc2')));
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("build id b1b1"),
                                     HasSubstr("running is c2c2"),
                                     HasSubstr("/proc/kcore"))));
}

TEST_F(RunningKernelTest, IsNotAnImageWithAnotherBanner) {
  Write(boot_, MakeWholeKernel());
  Write("/proc/version", absl::StrCat(kBanner, " and more"));
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("Debian 6.1.1-1\", running is")));
}

TEST_F(RunningKernelTest, IsReadFromItsOwnMemoryWithoutAnImage) {
  Write("/proc/kcore", MakeKcore(TestKernelContents()));
  ASSERT_OK_AND_ASSIGN(const RunningKernel kernel, Read());
  EXPECT_EQ(kernel.facts.build_id, kTestBuildId);
  EXPECT_THAT(kernel.facts.abi_strings,
              ElementsAre("kho-v4", "luo-session-v2", "luo-v5", "memfd-v2"));
  EXPECT_THAT(kernel.how, HasSubstr("/proc/kcore"));
}

TEST_F(RunningKernelTest, IsNotAForeignCore) {
  Write("/proc/version", "Linux version 7.3.4 (x) (gcc) #1\n");
  Write("/proc/kcore", MakeKcore(TestKernelContents()));
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("banner of /proc/version")));
}

TEST_F(RunningKernelTest, IsNotATruncatedCore) {
  const std::string core = MakeKcore(TestKernelContents());
  Write("/proc/kcore", core.substr(0, core.size() - 1));
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("ends after")));
}

TEST_F(RunningKernelTest, IsNotGuessedWithoutABuildId) {
  Write(boot_, MakeWholeKernel());
  Write("/sys/kernel/notes", "");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("no build id")));
}

TEST_F(RunningKernelTest, NamesEachPlaceItTried) {
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr(boot_),
                                     HasSubstr("/lib/modules/6.1.0-56"),
                                     HasSubstr("/proc/kcore"))));
}

TEST(FindKcoreTextTest, TellsTheKernelsOwnSegment) {
  ASSERT_OK_AND_ASSIGN(const KcoreText text,
                       FindKcoreText(AsBytes(MakeKcore("contents"))));
  EXPECT_EQ(text.offset, 0x2000u);
  EXPECT_EQ(text.size_bytes, 8u);
}

TEST(FindKcoreTextTest, RefusesEveryTruncationOfItsHeaders) {
  const std::string core = MakeKcore("contents");
  for (size_t size = 0; size < kSecondProgramHeader + sizeof(Elf64_Phdr);
       ++size) {
    EXPECT_FALSE(FindKcoreText(AsBytes(core.substr(0, size))).ok()) << size;
  }
}

TEST(FindKcoreTextTest, RefusesASegmentLargerThanAnyKernel) {
  std::string core = MakeKcore("contents");
  Poke<uint64_t>(&core, kSecondProgramHeader + offsetof(Elf64_Phdr, p_filesz),
                 uint64_t{1} << 29);
  EXPECT_THAT(FindKcoreText(AsBytes(core)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("0xffffffff81000000+0x20000000")));
  Poke<uint64_t>(&core, kSecondProgramHeader + offsetof(Elf64_Phdr, p_filesz),
                 ~uint64_t{0});
  EXPECT_THAT(FindKcoreText(AsBytes(core)),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(FindKcoreTextTest, RefusesOtherElfFiles) {
  EXPECT_THAT(
      FindKcoreText(AsBytes(MakeElfKernel("contents"))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not the core")));
}

}  // namespace
}  // namespace live_update::loader
