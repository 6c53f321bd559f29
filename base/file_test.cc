#include "base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kPlenty = 1 << 20;

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/file_XXXXXX");
    directory_ = mkdtemp(pattern.data());
  }
  ~FileTest() override { std::filesystem::remove_all(directory_); }
  std::string Path(absl::string_view name) const {
    return absl::StrCat(directory_, "/", name);
  }
  std::string directory_;
};

TEST_F(FileTest, ReadsBackWhatWasWritten) {
  const std::string contents("a\0b\n", 4);
  ASSERT_THAT(WriteFileAtomically(Path("f"), contents), IsOk());
  ASSERT_OK_AND_ASSIGN(const std::string read, ReadFile(Path("f"), kPlenty));
  EXPECT_EQ(read, contents);
}

TEST_F(FileTest, ReplacesAFileAndLeavesNoOther) {
  ASSERT_THAT(WriteFileAtomically(Path("f"), "long old contents"), IsOk());
  ASSERT_THAT(WriteFileAtomically(Path("f"), "new", 0640), IsOk());
  ASSERT_OK_AND_ASSIGN(const std::string read, ReadFile(Path("f"), kPlenty));
  EXPECT_EQ(read, "new");
  struct stat file {};
  ASSERT_EQ(stat(Path("f").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0640);
  std::filesystem::remove(Path("f"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(FileTest, AFailedWriteLeavesNoTemporaryFile) {
  ASSERT_EQ(mkdir(Path("f").c_str(), 0700), 0);  // rename() onto it must fail.
  EXPECT_THAT(
      WriteFileAtomically(Path("f"), "x"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rename")));
  std::filesystem::remove(Path("f"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(FileTest, SaysThatThereIsNone) {
  EXPECT_THAT(ReadFile(Path("none"), kPlenty),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(WriteFileAtomically(Path("none/f"), "x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("create")));
  EXPECT_THAT(SyncDirectory(Path("none")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

TEST_F(FileTest, ReadsUpToTheLimitAndNotPastIt) {
  ASSERT_THAT(WriteFileAtomically(Path("f"), "12345"), IsOk());
  EXPECT_THAT(ReadFile(Path("f"), 5), IsOk());
  EXPECT_THAT(ReadFile(Path("f"), 4),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("larger than the 4 bytes")));
}

TEST_F(FileTest, ReadsFilesThatClaimToBeEmpty) {
  ASSERT_OK_AND_ASSIGN(const std::string boot_id,
                       ReadFile("/proc/sys/kernel/random/boot_id", 100));
  EXPECT_EQ(boot_id.size(), 37);
}

TEST_F(FileTest, ReadFileAtDoesNotFollowLinks) {
  ASSERT_THAT(WriteFileAtomically(Path("f"), "x"), IsOk());
  ASSERT_EQ(symlink("f", Path("link").c_str()), 0);
  const UniqueFd directory(open(directory_.c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_THAT(ReadFileAt(directory, "f", kPlenty), IsOk());
  EXPECT_FALSE(ReadFileAt(directory, "link", kPlenty).ok());
}

}  // namespace
}  // namespace live_update
