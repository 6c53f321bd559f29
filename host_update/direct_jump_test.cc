#include "host_update/direct_jump.h"

#include <optional>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::StatusIs;
using loader::DirectEntry;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(DirectJumpTest, IsOffByDefault) {
  ASSERT_OK_AND_ASSIGN(const auto entry, DecideDirectJump("", Policy()));
  EXPECT_EQ(entry, std::nullopt);
}

TEST(DirectJumpTest, CanBeAskedForByThePolicyFile) {
  ASSERT_OK_AND_ASSIGN(const Policy policy,
                       ParsePolicy("direct_jump: BZIMAGE", "policy"));
  ASSERT_OK_AND_ASSIGN(const auto entry, DecideDirectJump("", policy));
  EXPECT_EQ(entry, DirectEntry::kBzImage);
}

TEST(DirectJumpTest, TheCommandLineGoesFirst) {
  Policy policy;
  policy.set_direct_jump(Policy::BZIMAGE);
  ASSERT_OK_AND_ASSIGN(const auto entry, DecideDirectJump("vmlinux", policy));
  EXPECT_EQ(entry, DirectEntry::kVmlinux);
  ASSERT_OK_AND_ASSIGN(const auto off, DecideDirectJump("off", policy));
  EXPECT_EQ(off, std::nullopt);
}

TEST(DirectJumpTest, RefusesOtherWords) {
  EXPECT_THAT(DecideDirectJump("zimage", Policy()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"zimage\" is no direct jump")));
}

TEST(DirectJumpTest, SaysWhatIsGivenUp) {
  EXPECT_THAT(GivenUpBy(DirectEntry::kVmlinux), HasSubstr("no KASLR"));
  EXPECT_THAT(GivenUpBy(DirectEntry::kBzImage), Not(HasSubstr("KASLR")));
}

}  // namespace
}  // namespace live_update
