#include "host_update/hook_process.h"

#include <signal.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// A script of its own in a file, and what it wrote.
class HookProcessTest : public ::testing::Test {
 protected:
  absl::Status Run(const std::string& script,
                   absl::Duration limit = absl::Seconds(30),
                   const std::string& interpreter = "/bin/sh") {
    const std::string path =
        absl::StrCat(::testing::TempDir(), "/hook-", getpid(), "-", ++scripts_);
    FILE* const file = fopen(path.c_str(), "we");
    fputs(absl::StrCat("#!", interpreter, "\n", script, "\n").c_str(), file);
    fchmod(fileno(file), 0755);
    fclose(file);
    return RunHookProcess(
        {.path = path,
         .environment = {"PATH=/usr/bin:/bin", "WORD=a word"},
         .limit = limit,
         .output =
             [this](absl::string_view line) { output_.emplace_back(line); },
         .stop = stop_});
  }

  std::function<bool()> stop_;
  std::vector<std::string> output_;
  int scripts_ = 0;
};

TEST_F(HookProcessTest, GetsItsEnvironmentAndNoOther) {
  setenv("OF_THE_PARENT", "1", 1);
  EXPECT_THAT(Run("env | grep -v -e ^_= -e ^PWD= | sort; pwd"), IsOk());
  EXPECT_THAT(output_, ElementsAre("PATH=/usr/bin:/bin", "WORD=a word", "/"));
}

TEST_F(HookProcessTest, ReadsNothingAndHasNoOtherDescriptor) {
  EXPECT_THAT(Run("cat; ls /proc/self/fd"), IsOk());
  // Of `ls` itself: the folder that it lists.
  EXPECT_THAT(output_, ElementsAre("0", "1", "2", "3"));
}

TEST_F(HookProcessTest, LeadsASessionOfItsOwn) {
  EXPECT_THAT(Run("read -r pid name state parent group session rest < "
                  "/proc/$$/stat; echo $((pid - group)) $((pid - session))"),
              IsOk());
  EXPECT_THAT(output_, ElementsAre("0 0"));
}

TEST_F(HookProcessTest, SaysItsExitStatusAndLastLine) {
  EXPECT_THAT(Run("echo first; echo 'no quorum' >&2; exit 3"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "exit status 3; its last line: no quorum"));
  EXPECT_THAT(
      Run("kill -TERM $$"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("signal 15")));
}

TEST_F(HookProcessTest, WhatCantBeExecutedFails) {
  EXPECT_THAT(Run("true", absl::Seconds(30), "/no/such/interpreter"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("127"), HasSubstr("executed"))));
}

TEST_F(HookProcessTest, IsKilledWithAllItStartedAtItsLimit) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(
      Run("sleep 60 & echo $!; wait", absl::Milliseconds(300)),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("300ms")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  int child = 0;
  ASSERT_THAT(output_, SizeIs(1));
  ASSERT_TRUE(absl::SimpleAtoi(output_[0], &child));
  // It is init's to reap now, which may take a moment.
  for (int tries = 0; tries < 100 && kill(child, 0) == 0; ++tries) {
    std::string state;
    if (FILE* stat =
            fopen(absl::StrCat("/proc/", child, "/stat").c_str(), "re")) {
      char text[256] = {};
      const size_t got = fread(text, 1, sizeof(text) - 1, stat);
      fclose(stat);
      if (std::string(text, got).find(") Z ") != std::string::npos) return;
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_NE(kill(child, 0), 0);
}

TEST_F(HookProcessTest, IsKilledWhenItIsToStop) {
  stop_ = [] { return true; };
  const absl::Time start = absl::Now();
  EXPECT_THAT(Run("sleep 60"), StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(HookProcessTest, WhatItLeavesBehindIsNotWaitedFor) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(Run("sleep 20 & echo done"), IsOk());
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_THAT(output_, ElementsAre("done"));
}

TEST_F(HookProcessTest, ItsOutputIsTamedAndBounded) {
  EXPECT_THAT(
      Run("printf 'a\\033[31mb\\n'; head -c 2000 /dev/zero | tr '\\0' x; "
          "echo; seq 1000"),
      IsOk());
  EXPECT_THAT(output_, SizeIs(200));
  EXPECT_EQ(output_[0], "a\\x1b[31mb");
  EXPECT_EQ(output_[1], std::string(512, 'x'));
  EXPECT_EQ(output_.back(), "(more lines are not kept)");
}

TEST_F(HookProcessTest, HasSignalsAsUsual) {
  signal(SIGPIPE, SIG_IGN);
  EXPECT_THAT(
      Run("kill -PIPE $$"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("signal 13")));
}

}  // namespace
}  // namespace live_update
