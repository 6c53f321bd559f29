#include "loader/initrd_files.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/match.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/target_kernel.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;

UniqueFd FileOf(const std::string& content) {
  UniqueFd fd(memfd_create("initrd", MFD_CLOEXEC));
  EXPECT_THAT(WriteAll(fd, content), IsOk());
  return fd;
}

const std::vector<InitrdFile> kFiles = {
    {.path = "d", .mode = S_IFDIR | 0755},
    {.path = "d/init", .mode = S_IFREG | 0755, .content = "abcde"},
};

TEST(PrependFilesTest, MakesAnArchiveAndLeavesTheInitrdAsItIs) {
  const std::string packed = "\x02\x21\x4c\x18 packed";
  ASSERT_OK_AND_ASSIGN(const UniqueFd whole,
                       PrependFiles(FileOf(packed), kFiles));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadAll(whole, 1 << 20));
  const std::string expected =
      "070701"
      "00000001000041ed0000000000000000000000010000000000000000"
      "00000000000000000000000000000000000000020000000"
      "0d" +
      std::string(1, '\0') +
      "070701"
      "00000002000081ed0000000000000000000000010000000000000005"
      "00000000000000000000000000000000000000070000000"
      "0d/init" +
      std::string(4, '\0') + "abcde" + std::string(3, '\0') +
      "070701"
      "00000000000000000000000000000000000000010000000000000000"
      "000000000000000000000000000000000000000b0000000"
      "0TRAILER!!!" +
      std::string(4, '\0');
  EXPECT_EQ(text, expected + packed);
  EXPECT_EQ(expected.size() % 4, 0);
  EXPECT_THAT(CheckInitrd(text), IsOk());
}

TEST(PrependFilesTest, NobodyChangesItAnyMore) {
  ASSERT_OK_AND_ASSIGN(const UniqueFd whole, PrependFiles(FileOf("x"), kFiles));
  EXPECT_EQ(pwrite(whole.get(), "y", 1, 0), -1);
  EXPECT_EQ(ftruncate(whole.get(), 0), -1);
}

TEST(PrependFilesTest, RefusesWhatHasNoRoom) {
  EXPECT_THAT(PrependFiles(FileOf("x"), {{.path = std::string(5000, 'p')}}),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(PrependFiles(FileOf("x"), {{.path = ""}}),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  const UniqueFd huge(memfd_create("initrd", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(huge.get(), off_t{3} << 30), 0);
  EXPECT_THAT(PrependFiles(huge, kFiles),
              StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
}

}  // namespace
}  // namespace live_update::loader
