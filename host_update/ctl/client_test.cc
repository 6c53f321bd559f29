#include "host_update/ctl/client.h"

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/ctl/fake_host_update.h"

namespace live_update::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClientTest : public ::testing::Test {
 protected:
  Reply<v1::HostInfo> GetHostInfo() {
    return client_.Call(&Client::Stub::GetHostInfo, v1::GetHostInfoRequest(),
                        absl::Now() + absl::Seconds(20));
  }
  // The error that the client makes of `status`.
  Error ErrorFor(const grpc::Status& status) {
    fake_.error = status;
    return GetHostInfo().error.value_or(Error{.exit_code = ExitCode::kOk});
  }

  FakeHostUpdate fake_;
  Client client_{fake_.socket()};
};

TEST_F(ClientTest, ReturnsWhatTheDaemonAnswers) {
  fake_.info.set_version("7");
  const auto reply = GetHostInfo();
  ASSERT_TRUE(reply.ok()) << reply.error->message;
  EXPECT_EQ(reply.value.version(), "7");
}

TEST_F(ClientTest, LetsPolkitAskOnlyWhoSitsInFront) {
  ASSERT_TRUE(GetHostInfo().ok());
  EXPECT_FALSE(fake_.may_prompt);
  Client in_terminal(fake_.socket(), /*may_prompt=*/true);
  ASSERT_TRUE(in_terminal
                  .Call(&Client::Stub::GetHostInfo, v1::GetHostInfoRequest(),
                        absl::Now() + absl::Seconds(20))
                  .ok());
  EXPECT_TRUE(fake_.may_prompt);
}

TEST_F(ClientTest, TakesCodeRemedyAndVmsFromTheDetail) {
  const Error error =
      ErrorFor(ErrorStatus(grpc::StatusCode::FAILED_PRECONDITION, "it changed",
                           "PLAN_CHANGED", "plan again", "run on"));
  EXPECT_EQ(error.exit_code, ExitCode::kFailedUnharmed);
  EXPECT_EQ(error.code, "PLAN_CHANGED");
  EXPECT_EQ(error.message, "it changed");
  EXPECT_EQ(error.remedy, "plan again");
  EXPECT_EQ(error.vms_now, "run on");
}

TEST_F(ClientTest, EachClassOfErrorsHasItsExitCode) {
  using Code = grpc::StatusCode;
  const struct {
    Code status;
    ExitCode expected;
    const char* detail;
  } kCases[] = {
      {Code::UNAVAILABLE, ExitCode::kBusy, "BUSY"},
      {Code::UNAVAILABLE, ExitCode::kNoDaemon, "LIBVIRT"},
      {Code::UNAVAILABLE, ExitCode::kNoDaemon, nullptr},
      {Code::DEADLINE_EXCEEDED, ExitCode::kNoDaemon, nullptr},
      {Code::PERMISSION_DENIED, ExitCode::kNoPermission, nullptr},
      {Code::PERMISSION_DENIED, ExitCode::kNoPermission, "BUSY"},
      {Code::FAILED_PRECONDITION, ExitCode::kOverBudget, "BLACKOUT_BUDGET"},
      {Code::FAILED_PRECONDITION, ExitCode::kFailedUnharmed, "PLAN_CHANGED"},
      {Code::FAILED_PRECONDITION, ExitCode::kFailedUnharmed, nullptr},
      {Code::NOT_FOUND, ExitCode::kNothingToDo, nullptr},
      {Code::INTERNAL, ExitCode::kFailedUnharmed, nullptr},
      {Code::INVALID_ARGUMENT, ExitCode::kFailedUnharmed, "BAD_PATH"},
  };
  for (const auto& c : kCases) {
    const Error error = ErrorFor(
        c.detail == nullptr ? grpc::Status(c.status, "why")
                            : ErrorStatus(c.status, "why", c.detail, "", ""));
    EXPECT_EQ(error.exit_code, c.expected) << c.status << " " << error.code;
    EXPECT_NE(error.remedy, "") << c.status;
    EXPECT_NE(error.vms_now, "") << c.status;
  }
}

TEST_F(ClientTest, SaysThatNobodyListens) {
  fake_.Stop();
  const auto reply = GetHostInfo();
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error->exit_code, ExitCode::kNoDaemon);
  EXPECT_EQ(reply.error->code, "NO_DAEMON");
  EXPECT_THAT(reply.error->remedy, HasSubstr("systemctl status hostupdated"));
  EXPECT_TRUE(reply.error->transient);
}

TEST_F(ClientTest, ABrokenConnectionIsNotAnAbsentDaemon) {
  const Error error =
      ErrorFor(grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed"));
  EXPECT_EQ(error.exit_code, ExitCode::kNoDaemon);
  EXPECT_EQ(error.code, "CONNECTION_LOST");
  EXPECT_THAT(error.message, HasSubstr("Socket closed"));
  EXPECT_TRUE(error.transient);
}

// Root may open every socket: gives that up for this process.
bool DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

TEST_F(ClientTest, ASocketThatMayNotBeOpenedIsAMatterOfPermission) {
  ASSERT_EQ(chmod(fake_.socket().c_str(), 0), 0);
  EXPECT_EXIT(
      {
        if (!DropCapabilities()) _exit(77);
        const Error error = ToError(
            grpc::Status(grpc::StatusCode::UNAVAILABLE, "connect failed"),
            fake_.socket());
        _exit(static_cast<int>(error.exit_code));
      },
      ::testing::ExitedWithCode(static_cast<int>(ExitCode::kNoPermission)), "");
}

TEST_F(ClientTest, ACallEndsWithItsDeadline) {
  const std::string silent = absl::StrCat(fake_.socket(), "-silent");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  silent.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  ASSERT_EQ(listen(fd, 5), 0);  // Connects, and never answers.
  Client client(silent);
  const auto reply =
      client.Call(&Client::Stub::GetHostInfo, v1::GetHostInfoRequest(),
                  absl::Now() + absl::Milliseconds(200));
  close(fd);
  unlink(silent.c_str());
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error->exit_code, ExitCode::kNoDaemon);
  EXPECT_EQ(reply.error->code, "DEADLINE_EXCEEDED");
}

TEST_F(ClientTest, WatchGivesEventsUntilTheCallerHasEnough) {
  for (int i = 1; i <= 3; ++i) {
    v1::Event event;
    event.set_sequence(i);
    fake_.events.push_back(event);
  }
  std::vector<uint64_t> seen;
  const auto error = client_.Watch({}, absl::Now() + absl::Seconds(20),
                                   [&](const v1::Event& event) {
                                     seen.push_back(event.sequence());
                                     return event.sequence() < 2;
                                   });
  EXPECT_FALSE(error.has_value());
  EXPECT_THAT(seen, ElementsAre(1, 2));
}

TEST_F(ClientTest, WatchSaysWhenTheStreamBreaks) {
  v1::Event event;
  event.set_sequence(1);
  fake_.events.push_back(event);
  fake_.fail_after = 1;
  const auto error = client_.Watch({}, absl::Now() + absl::Seconds(20),
                                   [](const v1::Event&) { return true; });
  ASSERT_TRUE(error.has_value());
  EXPECT_TRUE(error->transient);
}

}  // namespace
}  // namespace live_update::ctl
