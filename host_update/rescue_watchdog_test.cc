#include "host_update/rescue_watchdog.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;

constexpr absl::Duration kPatience = absl::Seconds(60);

class RescueWatchdogTest : public ::testing::Test {
 protected:
  RescueWatchdogTest() { std::ofstream(trigger_).flush(); }
  ~RescueWatchdogTest() override {
    EXPECT_THAT(StopRescueWatchdog(lock_), IsOk());
    unlink(lock_.c_str());
  }

  std::string Triggered() const {
    std::ifstream file(trigger_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  absl::Status Start(absl::Duration timeout) const {
    return StartRescueWatchdog(lock_, timeout, trigger_);
  }

  const std::string lock_ = ::testing::TempDir() + "/watchdog";
  const std::string trigger_ = ::testing::TempDir() + "/sysrq-trigger";
};

TEST_F(RescueWatchdogTest, CrashesWhenNothingIsHeardInTime) {
  const absl::Time start = absl::Now();
  ASSERT_THAT(Start(absl::Milliseconds(300)), IsOk());
  while (Triggered().empty() && absl::Now() - start < kPatience) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(Triggered(), "c");
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(300));
}

TEST_F(RescueWatchdogTest, EachFeedBeginsTheTimeAnew) {
  const absl::Duration timeout = absl::Seconds(4);
  ASSERT_THAT(Start(timeout), IsOk());
  for (absl::Time start = absl::Now(); absl::Now() - start < 1.5 * timeout;) {
    absl::SleepFor(timeout / 20);
    EXPECT_THAT(FeedRescueWatchdog(lock_), IsOk());
  }
  EXPECT_EQ(Triggered(), "");
}

TEST_F(RescueWatchdogTest, OnceStoppedItCrashesNothing) {
  ASSERT_THAT(Start(absl::Milliseconds(500)), IsOk());
  EXPECT_THAT(StopRescueWatchdog(lock_), IsOk());
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(Triggered(), "");
  EXPECT_THAT(FeedRescueWatchdog(lock_), IsOk());
  EXPECT_THAT(StopRescueWatchdog(lock_), IsOk());
}

TEST_F(RescueWatchdogTest, ThereIsOne) {
  ASSERT_THAT(Start(kPatience), IsOk());
  EXPECT_THAT(Start(kPatience), StatusIs(absl::StatusCode::kAlreadyExists,
                                         ::testing::HasSubstr(lock_)));
  EXPECT_THAT(StopRescueWatchdog(lock_), IsOk());
  EXPECT_THAT(Start(kPatience), IsOk());
}

TEST_F(RescueWatchdogTest, AKernelWithoutItsTriggerHasNone) {
  EXPECT_THAT(StartRescueWatchdog(lock_, kPatience, "/nowhere/trigger"),
              StatusIs(absl::StatusCode::kNotFound,
                       ::testing::HasSubstr("/nowhere/trigger")));
}

}  // namespace
}  // namespace live_update
