#include "host_update/cli/operator_key.h"

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::IsNull;
using ::testing::NotNull;

class OperatorKeyTest : public ::testing::Test {
 protected:
  OperatorKeyTest()
      : directory_(absl::StrCat(
            ::testing::TempDir(), "/",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(directory_);
  }
  std::string Write(const std::string& name, char byte, mode_t mode) {
    std::string path = absl::StrCat(directory_, "/", name);
    EXPECT_THAT(WriteFileAtomically(path, std::string(32, byte), mode), IsOk());
    return path;
  }

  const std::string directory_;
};

TEST_F(OperatorKeyTest, NoKeyIsNoError) {
  EXPECT_THAT(*LoadOperatorKey("", nullptr), IsNull());
  EXPECT_THAT(*LoadOperatorKey("", directory_.c_str()), IsNull());
}

TEST_F(OperatorKeyTest, TakesTheCredential) {
  Write("handover-key", 'c', 0400);
  EXPECT_THAT(*LoadOperatorKey("", directory_.c_str()), NotNull());
}

TEST_F(OperatorKeyTest, TheFileGoesBeforeTheCredential) {
  Write("handover-key", 'c', 0400);
  const std::string path = Write("other", 'f', 0600);
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const HandoverKey> key,
                       LoadOperatorKey(path, directory_.c_str()));
  ASSERT_OK_AND_ASSIGN(const HandoverKey expected,
                       HandoverKey::FromBytes(std::string(32, 'f')));
  EXPECT_EQ(key->id(), expected.id());
}

TEST_F(OperatorKeyTest, AKeyThatCantBeUsedIsAnErrorNotNone) {
  Write("handover-key", 'c', 0644);
  EXPECT_THAT(LoadOperatorKey("", directory_.c_str()),
              StatusIs(absl::StatusCode::kPermissionDenied, _));
  EXPECT_THAT(LoadOperatorKey(absl::StrCat(directory_, "/none"), nullptr),
              StatusIs(absl::StatusCode::kNotFound, _));
}

}  // namespace
}  // namespace live_update
