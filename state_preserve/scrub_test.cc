#include "state_preserve/scrub.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;

constexpr char kSecret[] = "what the guest had in its memory";

class ScrubTest : public ::testing::Test {
 protected:
  ScrubTest()
      : path_(absl::StrCat(
            ::testing::TempDir(), "/scrub-",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
    directory_ = *OpenDirectory(path_);
  }

  // A file of 3 MiB with the secret behind a hole, and at its end.
  void Make(const std::string& name) {
    const UniqueFd fd(
        open((path_ + "/" + name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const std::string secret(kSecret);
    const off_t size = 3 << 20;
    ASSERT_EQ(ftruncate(fd.get(), size), 0);
    for (const off_t offset :
         {off_t{1} << 20, size - static_cast<off_t>(secret.size())}) {
      ASSERT_EQ(pwrite(fd.get(), secret.data(), secret.size(), offset),
                static_cast<ssize_t>(secret.size()));
    }
  }

  // What is left of a file that was opened for reading only, before it lost its
  // name. Opening it would make it a used one: a name outside is kept instead.
  std::string Kept() { return *ReadFile(path_ + "/kept", 4 << 20); }

  const std::string path_;
  UniqueFd directory_;
};

TEST_F(ScrubTest, OverwritesWhatLosesItsLastName) {
  Make("ram");
  const UniqueFd path_only(
      open((path_ + "/ram").c_str(), O_PATH | O_CLOEXEC));  // Opens nothing.
  EXPECT_THAT(ScrubAndUnlink(directory_, "ram"), IsOk());
  EXPECT_FALSE(std::filesystem::exists(path_ + "/ram"));
  ASSERT_OK_AND_ASSIGN(
      const std::string left,
      ReadFile(absl::StrCat("/proc/self/fd/", path_only.get()), 4 << 20));
  EXPECT_EQ(left, std::string(3 << 20, '\0'));
}

TEST_F(ScrubTest, LeavesWhatHasAnotherName) {
  Make("ram");
  std::filesystem::create_hard_link(path_ + "/ram", path_ + "/kept");
  EXPECT_THAT(ScrubAndUnlink(directory_, "ram"), IsOk());
  EXPECT_FALSE(std::filesystem::exists(path_ + "/ram"));
  EXPECT_THAT(Kept(), ::testing::EndsWith(kSecret));
}

TEST_F(ScrubTest, LeavesWhatIsOpen) {
  Make("ram");
  const UniqueFd user(open((path_ + "/ram").c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_THAT(ScrubAndUnlink(directory_, "ram"), IsOk());
  ASSERT_OK_AND_ASSIGN(const std::string left, ReadAll(user, 4 << 20));
  EXPECT_THAT(left, ::testing::EndsWith(kSecret));
}

TEST_F(ScrubTest, LeavesWhatIsMapped) {
  Make("ram");
  char* mapped = nullptr;
  {
    const UniqueFd user(open((path_ + "/ram").c_str(), O_RDWR | O_CLOEXEC));
    mapped = static_cast<char*>(mmap(nullptr, 3 << 20, PROT_READ | PROT_WRITE,
                                     MAP_SHARED, user.get(), 0));
  }
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_THAT(ScrubAndUnlink(directory_, "ram"), IsOk());
  EXPECT_STREQ(std::string(mapped + (1 << 20)).c_str(), kSecret);
  munmap(mapped, 3 << 20);
}

TEST_F(ScrubTest, RemovesATreeAndFollowsNoLink) {
  std::filesystem::create_directories(path_ + "/set/ram/vm");
  Make("set/ram/vm/pc.ram");
  Make("set/handover");
  Make("kept");
  std::filesystem::create_symlink("../kept", path_ + "/set/link");
  ASSERT_EQ(mkfifo((path_ + "/set/fifo").c_str(), 0600), 0);
  const UniqueFd image(
      open((path_ + "/set/handover").c_str(), O_PATH | O_CLOEXEC));
  EXPECT_THAT(ScrubTreeAt(directory_, "set"), IsOk());
  EXPECT_FALSE(std::filesystem::exists(path_ + "/set"));
  EXPECT_THAT(Kept(), ::testing::EndsWith(kSecret));
  ASSERT_OK_AND_ASSIGN(
      const std::string left,
      ReadFile(absl::StrCat("/proc/self/fd/", image.get()), 4 << 20));
  EXPECT_EQ(left, std::string(3 << 20, '\0'));
}

TEST_F(ScrubTest, WhatIsNotThereIsNoError) {
  EXPECT_THAT(ScrubAndUnlink(directory_, "none"), IsOk());
  EXPECT_THAT(ScrubTreeAt(directory_, "none"), IsOk());
}

}  // namespace
}  // namespace live_update
