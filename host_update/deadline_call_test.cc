#include "host_update/deadline_call.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using testing::IsOk;
using testing::StatusIs;

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

TEST(CallBeforeTest, ReturnsWhatTheWorkReturns) {
  EXPECT_THAT(
      CallBefore<absl::Status>(Soon(), "it", [] { return absl::OkStatus(); }),
      IsOk());
  EXPECT_THAT(CallBefore<absl::Status>(
                  Soon(), "it", [] { return absl::NotFoundError("no"); }),
              StatusIs(absl::StatusCode::kNotFound, "no"));
  ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<int> value,
      CallBefore<absl::StatusOr<std::unique_ptr<int>>>(
          Soon(), "it", [] { return std::make_unique<int>(7); }));
  EXPECT_EQ(*value, 7);
}

TEST(CallBeforeTest, GivesUpAtTheDeadlineAndUndoesWhatComesLate) {
  absl::Notification go_on;
  absl::Notification undone;
  EXPECT_THAT(
      CallBefore<absl::Status>(
          absl::Now() + absl::Milliseconds(20), "the daemon",
          [&go_on] {
            go_on.WaitForNotification();
            return absl::OkStatus();
          },
          [&undone](const absl::Status& late) {
            EXPECT_THAT(late, IsOk());
            undone.Notify();
          }),
      StatusIs(absl::StatusCode::kDeadlineExceeded, "waited for the daemon"));
  EXPECT_FALSE(undone.HasBeenNotified());
  go_on.Notify();
  EXPECT_TRUE(undone.WaitForNotificationWithTimeout(absl::Seconds(20)));
}

TEST(CallBeforeTest, UndoesNothingThatCameInTime) {
  auto undo = std::make_shared<bool>(false);
  EXPECT_THAT(CallBefore<absl::Status>(
                  Soon(), "it", [] { return absl::OkStatus(); },
                  [undo](const absl::Status&) { *undo = true; }),
              IsOk());
  EXPECT_FALSE(*undo);
}

TEST(CallBeforeTest, LeavesWorkThatEndsLateToItself) {
  absl::Notification go_on;
  auto ended = std::make_shared<absl::Notification>();
  EXPECT_THAT(CallBefore<absl::Status>(absl::Now(), "it",
                                       [&go_on, ended] {
                                         go_on.WaitForNotification();
                                         ended->Notify();
                                         return absl::OkStatus();
                                       }),
              StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::_));
  go_on.Notify();
  EXPECT_TRUE(ended->WaitForNotificationWithTimeout(absl::Seconds(20)));
}

TEST(RetryWhileUnavailableTest, ReturnsTheFirstOtherResult) {
  int calls = 0;
  EXPECT_THAT(RetryWhileUnavailable(Soon(),
                                    [&calls] {
                                      return ++calls < 3
                                                 ? absl::UnavailableError("no")
                                                 : absl::OkStatus();
                                    }),
              IsOk());
  EXPECT_EQ(calls, 3);
  EXPECT_THAT(
      RetryWhileUnavailable(Soon(), [] { return absl::InternalError("it"); }),
      StatusIs(absl::StatusCode::kInternal, "it"));
}

TEST(RetryWhileUnavailableTest, SaysWhyWhenTheDeadlinePasses) {
  EXPECT_THAT(
      RetryWhileUnavailable(absl::Now() + absl::Milliseconds(300),
                            [] { return absl::UnavailableError("refused"); }),
      StatusIs(absl::StatusCode::kUnavailable, "refused"));
  int calls = 0;
  EXPECT_THAT(RetryWhileUnavailable(
                  Soon(),
                  [&calls] {
                    return ++calls == 1 ? absl::UnavailableError("refused")
                                        : absl::DeadlineExceededError("late");
                  }),
              StatusIs(absl::StatusCode::kUnavailable, "refused"));
  EXPECT_THAT(RetryWhileUnavailable(
                  Soon(), [] { return absl::DeadlineExceededError("late"); }),
              StatusIs(absl::StatusCode::kDeadlineExceeded, "late"));
}

}  // namespace
}  // namespace live_update
