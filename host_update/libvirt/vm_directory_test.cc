#include "host_update/libvirt/vm_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr char kUuid[] = "6695eb01-f6a4-8304-79aa-97f2502e193f";

class VmDirectoryTest : public ::testing::Test {
 protected:
  VmDirectoryTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/vmXXXXXX");
    parent_ = mkdtemp(name.data());  // Mode 0700, as a service's folder may be.
    runtime_ = absl::StrCat(parent_, "/vm");
  }
  ~VmDirectoryTest() override { std::filesystem::remove_all(parent_); }

  static mode_t Mode(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    return info.st_mode & 07777;
  }

  std::string parent_;
  std::string runtime_;
};

TEST_F(VmDirectoryTest, LetsOthersThroughButSeeNothing) {
  ASSERT_OK_AND_ASSIGN(const auto directory,
                       VmDirectory::Create(runtime_, kUuid));
  EXPECT_EQ(Mode(parent_), 0711u);
  EXPECT_EQ(Mode(runtime_), 0711u);
  EXPECT_EQ(Mode(directory->path()), 0711u);
  ASSERT_OK_AND_ASSIGN(const std::string inner,
                       directory->MakeFor("qemu", getuid(), getgid()));
  EXPECT_EQ(Mode(inner), 0700u);
}

TEST_F(VmDirectoryTest, LeavesNothing) {
  {
    ASSERT_OK_AND_ASSIGN(const auto directory,
                         VmDirectory::Create(runtime_, kUuid));
    ASSERT_THAT(directory->MakeFor("qemu", getuid(), getgid()), IsOk());
    std::ofstream(absl::StrCat(directory->path(), "/qemu/file")) << "x";
  }
  EXPECT_TRUE(std::filesystem::is_empty(runtime_));
}

TEST_F(VmDirectoryTest, RemovesWhatAKilledRunLeft) {
  std::filesystem::create_directories(absl::StrCat(runtime_, "/", kUuid));
  std::ofstream(absl::StrCat(runtime_, "/", kUuid, "/cpr")) << "x";
  ASSERT_OK_AND_ASSIGN(const auto directory,
                       VmDirectory::Create(runtime_, kUuid));
  EXPECT_TRUE(std::filesystem::is_empty(directory->path()));
}

TEST_F(VmDirectoryTest, RefusesWhatIsNoUuid) {
  for (const char* name :
       {"", "../../etc", "6695eb01-f6a4-8304-79aa-97f2502e193",
        "6695eb01-f6a4-8304-79aa-97f2502e193/",
        "6695eb01xf6a4-8304-79aa-97f2502e193f"}) {
    EXPECT_THAT(
        VmDirectory::Create(runtime_, name),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no UUID")))
        << name;
  }
}

TEST_F(VmDirectoryTest, FollowsNoLinkThatSomebodyPutThere) {
  const std::string elsewhere = absl::StrCat(parent_, "/elsewhere");
  std::filesystem::create_directory(elsewhere);
  std::ofstream(absl::StrCat(elsewhere, "/kept")) << "x";
  std::filesystem::create_directory(runtime_);
  std::filesystem::create_symlink(elsewhere,
                                  absl::StrCat(runtime_, "/", kUuid));
  ASSERT_OK_AND_ASSIGN(const auto directory,
                       VmDirectory::Create(runtime_, kUuid));
  EXPECT_TRUE(std::filesystem::exists(absl::StrCat(elsewhere, "/kept")));
  EXPECT_FALSE(std::filesystem::is_symlink(directory->path()));
}

}  // namespace
}  // namespace live_update
