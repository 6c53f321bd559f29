#include "host_update/qemu/guest_agent.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
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

absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

// Answers in the order given; the last answer again and again.
class FakeAgent final : public QmpChannel {
 public:
  explicit FakeAgent(std::vector<absl::StatusOr<std::string>> answers)
      : answers_(std::move(answers)) {}

  absl::StatusOr<std::string> Execute(const std::string& command,
                                      absl::Time) override {
    commands.push_back(command);
    const size_t next = next_;
    if (next_ + 1 < answers_.size()) ++next_;
    return answers_[next];
  }

  std::vector<std::string> commands;

 private:
  const std::vector<absl::StatusOr<std::string>> answers_;
  size_t next_ = 0;
};

TEST(GuestAgentTest, TellsTheGuestsTime) {
  FakeAgent agent({R"({"return":1764295200500000000})"});
  ASSERT_OK_AND_ASSIGN(const absl::Time time,
                       GuestAgent(&agent).GetTime(Soon()));
  EXPECT_LT(
      absl::AbsDuration(time - absl::FromUnixMillis(int64_t{1764295200500})),
      absl::Microseconds(1));
}

TEST(GuestAgentTest, BelievesNoTimeThatIsNone) {
  for (const char* reply :
       {R"({"return":-1})", R"({"return":1e300})", R"({"return":"noon"})",
        R"({"return":{}})", R"({"return":"NaN"})", "", "[]"}) {
    EXPECT_THAT(ParseGuestTime(reply).status(),
                StatusIs(absl::StatusCode::kInternal, _))
        << reply;
  }
}

TEST(GuestAgentTest, SetsTheTimeToTheNanosecond) {
  FakeAgent agent({R"({"return":{}})"});
  EXPECT_THAT(GuestAgent(&agent).SetTime(
                  absl::FromUnixNanos(1764295200123456789), Soon()),
              IsOk());
  EXPECT_THAT(
      agent.commands,
      ElementsAre(
          R"({"execute":"guest-set-time","arguments":{"time":1764295200123456789}})"));
}

TEST(GuestAgentTest, WaitsForTheGuestsHook) {
  FakeAgent agent({R"({"return":{"pid":4711}})",
                   R"({"return":{"exited":false}})",
                   R"({"return":{"exited":true,"exitcode":0}})"});
  EXPECT_THAT(GuestAgent(&agent).RunHook("notify", Soon()), IsOk());
  EXPECT_THAT(
      agent.commands,
      ElementsAre(AllOf(HasSubstr("exec /etc/qemu/host-update-hook notify"),
                        HasSubstr("guest-exec")),
                  HasSubstr("4711"), HasSubstr("guest-exec-status")));
}

TEST(GuestAgentTest, AHookThatTakesLongIsLeftToItself) {
  FakeAgent agent(
      {R"({"return":{"pid":4711}})", R"({"return":{"exited":false}})"});
  EXPECT_THAT(GuestAgent(&agent).RunHook("notify",
                                         absl::Now() + absl::Milliseconds(150)),
              IsOk());
  EXPECT_THAT(agent.commands, SizeIs(::testing::Ge(2)));
}

TEST(GuestAgentTest, SaysHowAHookFailed) {
  FakeAgent exited({R"({"return":{"pid":1}})",
                    R"({"return":{"exited":true,"exitcode":3}})"});
  EXPECT_THAT(GuestAgent(&exited).RunHook("notify", Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("exit status 3")));
  FakeAgent killed(
      {R"({"return":{"pid":1}})", R"({"return":{"exited":true,"signal":9}})"});
  EXPECT_THAT(GuestAgent(&killed).RunHook("notify", Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("exit status 137")));
}

TEST(GuestAgentTest, AGuestWithoutAHookIsNotFound) {
  FakeAgent agent({R"({"return":{"pid":1}})",
                   R"({"return":{"exited":true,"exitcode":127}})"});
  EXPECT_THAT(GuestAgent(&agent).RunHook("notify", Soon()),
              StatusIs(absl::StatusCode::kNotFound, _));
  FakeAgent windows({absl::InternalError("No such file or directory")});
  EXPECT_THAT(GuestAgent(&windows).RunHook("notify", Soon()),
              StatusIs(absl::StatusCode::kNotFound, _));
  FakeAgent none({absl::UnavailableError("not connected")});
  EXPECT_THAT(GuestAgent(&none).RunHook("notify", Soon()),
              StatusIs(absl::StatusCode::kUnavailable, _));
  FakeAgent hostile({R"({"return":{"pid":-7}})"});
  EXPECT_THAT(GuestAgent(&hostile).RunHook("notify", Soon()),
              StatusIs(absl::StatusCode::kNotFound, _));
}

}  // namespace
}  // namespace live_update
