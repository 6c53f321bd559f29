#include "base/directory.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/dir_XXXXXX");
    path_ = mkdtemp(pattern.data());
  }
  ~DirectoryTest() override { std::filesystem::remove_all(path_); }
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(directory_, OpenDirectory(path_));
  }
  std::string Path(absl::string_view name) const {
    return absl::StrCat(path_, "/", name);
  }
  void Touch(absl::string_view name) { std::ofstream file(Path(name)); }
  std::string path_;
  UniqueFd directory_;
};

TEST_F(DirectoryTest, MakesADirectoryOnceAndPrivate) {
  EXPECT_THAT(MakeDirectoryAt(directory_, "a"), IsOk());
  EXPECT_THAT(MakeDirectoryAt(directory_, "a"), IsOk());
  struct stat made {};
  ASSERT_EQ(stat(Path("a").c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 07777, 0700);
}

TEST_F(DirectoryTest, ListsTwiceTheSame) {
  Touch("b");
  Touch(".a");
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names,
                         ListDirectory(directory_));
    EXPECT_THAT(names, ElementsAre(".a", "b"));
  }
}

TEST_F(DirectoryTest, DoesNotEnterALink) {
  ASSERT_EQ(symlink("/", Path("link").c_str()), 0);
  EXPECT_FALSE(OpenDirectoryAt(directory_, "link").ok());
  EXPECT_FALSE(MakeDirectoryAt(directory_, "link").ok());
}

TEST_F(DirectoryTest, RenameDoesNotReplace) {
  Touch("a");
  Touch("b");
  EXPECT_THAT(RenameAt(directory_, "a", directory_, "b"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("a to b")));
  EXPECT_THAT(RenameAt(directory_, "a", directory_, "c"), IsOk());
  ASSERT_OK_AND_ASSIGN(const bool exists, ExistsAt(directory_, "a"));
  EXPECT_FALSE(exists);
}

TEST_F(DirectoryTest, RemovesATreeButNotWhatALinkInItNames) {
  std::filesystem::create_directories(Path("tree/one/two"));
  Touch("tree/one/file");
  Touch("kept");
  ASSERT_EQ(symlink(Path("kept").c_str(), Path("tree/link").c_str()), 0);
  EXPECT_THAT(RemoveTreeAt(directory_, "tree"), IsOk());
  EXPECT_THAT(RemoveTreeAt(directory_, "tree"), IsOk());
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names,
                       ListDirectory(directory_));
  EXPECT_THAT(names, ElementsAre("kept"));
}

}  // namespace
}  // namespace live_update
