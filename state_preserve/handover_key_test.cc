#include "state_preserve/handover_key.h"

#include <sys/stat.h>

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
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string KeyFile(const std::string& bytes, mode_t mode) {
  std::string path = absl::StrCat(::testing::TempDir(), "/handover-key");
  EXPECT_THAT(WriteFileAtomically(path, bytes, mode), IsOk());
  return path;
}

// RFC 4231, test case 6 (a key longer than SHA-256's block).
TEST(HandoverKeyTest, IsHmacSha256) {
  ASSERT_OK_AND_ASSIGN(const HandoverKey key,
                       HandoverKey::FromBytes(std::string(131, '\xaa')));
  ASSERT_OK_AND_ASSIGN(
      const Mac mac,
      key.MacOf("Test Using Larger Than Block-Size Key - Hash Key First"));
  EXPECT_EQ(ToHex(mac),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(HandoverKeyTest, TakesKeysOf32To4096Bytes) {
  EXPECT_THAT(HandoverKey::FromBytes(std::string(32, 'k')), IsOk());
  EXPECT_THAT(HandoverKey::FromBytes(std::string(4096, 'k')), IsOk());
  for (const size_t size : {0, 31, 4097}) {
    EXPECT_THAT(HandoverKey::FromBytes(std::string(size, 'k')),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("of ", size, " bytes"))));
  }
}

TEST(HandoverKeyTest, AFileIsTheKeyByteForByte) {
  const std::string bytes = std::string(40, 'k') + "\n";
  ASSERT_OK_AND_ASSIGN(const HandoverKey from_file,
                       HandoverKey::FromFile(KeyFile(bytes, 0600)));
  ASSERT_OK_AND_ASSIGN(const HandoverKey same, HandoverKey::FromBytes(bytes));
  ASSERT_OK_AND_ASSIGN(const HandoverKey without_newline,
                       HandoverKey::FromBytes(std::string(40, 'k')));
  EXPECT_EQ(from_file.id(), same.id());
  EXPECT_NE(from_file.id(), without_newline.id());
}

TEST(HandoverKeyTest, RefusesAFileThatOthersMayRead) {
  for (const mode_t mode : {0640, 0604, 0620, 0601}) {
    EXPECT_THAT(
        HandoverKey::FromFile(KeyFile(std::string(32, 'k'), mode)),
        StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("0600")));
  }
  EXPECT_THAT(HandoverKey::FromFile(KeyFile(std::string(32, 'k'), 0400)),
              IsOk());
}

TEST(HandoverKeyTest, RefusesFilesThatAreNoKeyAndPrintsNoneOfThem) {
  const std::string secret(31, 's');
  EXPECT_THAT(HandoverKey::FromFile(KeyFile(secret, 0600)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("31 bytes"), Not(HasSubstr("sss")))));
  EXPECT_THAT(
      HandoverKey::FromFile(KeyFile(std::string(5000, 's'), 0600)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5000 bytes")));
  EXPECT_THAT(HandoverKey::FromFile(::testing::TempDir()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not a regular file")));
  EXPECT_THAT(HandoverKey::FromFile("/nowhere/key"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/key")));
}

TEST(HandoverKeyTest, ComparesAllBytes) {
  const uint8_t a[] = {1, 2, 3};
  const uint8_t b[] = {1, 2, 4};
  EXPECT_TRUE(EqualInConstantTime(a, a));
  EXPECT_FALSE(EqualInConstantTime(a, b));
  EXPECT_FALSE(EqualInConstantTime(a, absl::MakeConstSpan(a, 2)));
}

}  // namespace
}  // namespace live_update
