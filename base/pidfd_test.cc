#include "base/pidfd.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using testing::IsOk;

pid_t ChildThatWaits() {
  const pid_t child = fork();
  if (child != 0) return child;
  while (true) pause();
}

TEST(PidfdTest, AProcessIsSignalledAndItsEndWaitedFor) {
  const pid_t child = ChildThatWaits();
  ASSERT_GT(child, 0);
  ASSERT_OK_AND_ASSIGN(const UniqueFd pidfd, OpenPidfd(child));
  EXPECT_FALSE(HasEnded(pidfd, absl::Now() + absl::Milliseconds(20)));
  EXPECT_FALSE(HasEnded(pidfd, absl::InfinitePast()));
  EXPECT_THAT(SendSignal(pidfd, SIGKILL), IsOk());
  EXPECT_TRUE(HasEnded(pidfd, absl::Now() + absl::Seconds(30)));
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(absl::IsNotFound(SendSignal(pidfd, SIGKILL)));
  EXPECT_TRUE(HasEnded(pidfd, absl::InfiniteFuture()));
}

TEST(PidfdTest, AProcessThatIsGoneIsNotFound) {
  const pid_t child = ChildThatWaits();
  ASSERT_GT(child, 0);
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(absl::IsNotFound(OpenPidfd(child).status()));
}

// A signal to who waits is not the end of the other.
TEST(PidfdTest, ASignalDoesNotCutTheWaitShort) {
  const pid_t child = ChildThatWaits();
  ASSERT_GT(child, 0);
  ASSERT_OK_AND_ASSIGN(const UniqueFd pidfd, OpenPidfd(child));
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};  // Without SA_RESTART.
  ASSERT_EQ(sigaction(SIGALRM, &nothing, nullptr), 0);
  alarm(1);
  const absl::Time start = absl::Now();
  EXPECT_FALSE(HasEnded(pidfd, start + absl::Milliseconds(1200)));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(1200));
  ASSERT_THAT(SendSignal(pidfd, SIGKILL), IsOk());
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace live_update
