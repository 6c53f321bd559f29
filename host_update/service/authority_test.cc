// polkit is a fake, behind a bus that is one as well: a socket at which a
// connection of sd-bus answers for both.

#include "host_update/service/authority.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/pidfd.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/service/caller.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;

// A socket's path must be short: not in TempDir().
class ShortDirectory {
 public:
  ShortDirectory() { EXPECT_NE(mkdtemp(path_), nullptr); }
  ~ShortDirectory() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/authority-XXXXXX";
};

UniqueFd ListenAsBus(const std::string& path) {
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address),
                 sizeof(address)),
            0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  setenv("DBUS_SYSTEM_BUS_ADDRESS", absl::StrCat("unix:path=", path).c_str(),
         1);
  return listener;
}

class FakePolkit {
 public:
  enum class Answer { kYes, kNo, kChallenge, kAbsent, kSilence };

  explicit FakePolkit(Answer answer)
      : answer_(answer),
        listener_(ListenAsBus(directory_.path() + "/bus")),
        thread_([this] { Serve(); }) {}

  ~FakePolkit() {
    stop_ = true;
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  // Of the last question. Once it was answered.
  uint32_t pid() const { return pid_; }
  int32_t uid() const { return uid_; }
  uint32_t flags() const { return flags_; }
  std::string action() const { return action_; }
  std::string call() const { return call_; }

 private:
  void Serve() {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.ok()) return;
    sd_bus* bus = nullptr;
    ASSERT_GE(sd_bus_new(&bus), 0);
    const int number = fd.Release();
    ASSERT_GE(sd_bus_set_fd(bus, number, number), 0);
    sd_id128_t id = {};
    id.bytes[0] = 1;
    ASSERT_GE(sd_bus_set_server(bus, 1, id), 0);
    ASSERT_GE(sd_bus_add_filter(bus, nullptr, OnCall, this), 0);
    ASSERT_GE(sd_bus_start(bus), 0);
    while (!stop_) {
      const int result = sd_bus_process(bus, nullptr);
      if (result < 0) break;
      if (result == 0) sd_bus_wait(bus, 20'000);
    }
    sd_bus_close_unref(bus);
  }

  static int OnCall(sd_bus_message* message, void* self, sd_bus_error*) {
    if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus",
                                      "Hello") > 0) {
      return sd_bus_reply_method_return(message, "s", ":1.1");
    }
    if (sd_bus_message_is_method_call(message,
                                      "org.freedesktop.PolicyKit1.Authority",
                                      "CheckAuthorization") > 0) {
      return static_cast<FakePolkit*>(self)->Reply(message);
    }
    return 0;
  }

  int Reply(sd_bus_message* message) {
    const char *kind, *action, *key, *call, *cancellation;
    const char* keys[3];
    uint64_t start_time = 0;
    EXPECT_GT(
        sd_bus_message_read(message, "(sa{sv})", &kind, 3, &keys[0], "u", &pid_,
                            &keys[1], "t", &start_time, &keys[2], "i", &uid_),
        0);
    EXPECT_THAT(keys,
                ElementsAre(StrEq("pid"), StrEq("start-time"), StrEq("uid")));
    EXPECT_GT(sd_bus_message_read(message, "sa{ss}us", &action, 1, &key, &call,
                                  &flags_, &cancellation),
              0);
    EXPECT_STREQ(kind, "unix-process");
    EXPECT_STREQ(key, "call");
    action_ = action;
    call_ = call;
    switch (answer_) {
      case Answer::kYes:
        return sd_bus_reply_method_return(message, "(bba{ss})", 1, 0, 0);
      case Answer::kNo:
        return sd_bus_reply_method_return(message, "(bba{ss})", 0, 0, 0);
      case Answer::kChallenge:
        return sd_bus_reply_method_return(message, "(bba{ss})", 0, 1, 0);
      case Answer::kAbsent:
        return sd_bus_reply_method_errorf(
            message, "org.freedesktop.DBus.Error.ServiceUnknown",
            "there is no polkit");
      case Answer::kSilence:
        return 1;
    }
    return 0;
  }

  const ShortDirectory directory_;
  const Answer answer_;
  std::atomic<bool> stop_ = false;
  uint32_t pid_ = 0, flags_ = 0;
  int32_t uid_ = 0;
  std::string action_, call_;
  const UniqueFd listener_;
  std::thread thread_;  // Last: it uses the others.
};

// The caller as whom this very process is seen.
Caller Myself() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd one(ends[0]), other(ends[1]);
  return *CallerOf(one.get());
}

AuthorityQuestion Question() {
  return {.call = "Execute", .patience = absl::Seconds(30)};
}

TEST(AuthorityTest, WhomPolkitLetsMay) {
  FakePolkit polkit(FakePolkit::Answer::kYes);
  EXPECT_THAT(AskPolkit(Myself(), Question()), IsOk());
  EXPECT_EQ(polkit.pid(), static_cast<uint32_t>(getpid()));
  EXPECT_EQ(polkit.uid(), static_cast<int32_t>(getuid()));
  EXPECT_EQ(polkit.action(), "org.host-update.manage");
  EXPECT_EQ(polkit.call(), "Execute");
  EXPECT_EQ(polkit.flags(), 0U);
}

TEST(AuthorityTest, APromptIsAllowedOnlyIfTheCallerSaysSo) {
  FakePolkit polkit(FakePolkit::Answer::kYes);
  AuthorityQuestion question = Question();
  question.may_prompt = true;
  EXPECT_THAT(AskPolkit(Myself(), question), IsOk());
  EXPECT_EQ(polkit.flags(), 1U);
}

TEST(AuthorityTest, ANoIsANo) {
  FakePolkit polkit(FakePolkit::Answer::kNo);
  EXPECT_THAT(AskPolkit(Myself(), Question()),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("org.host-update.manage")));
}

TEST(AuthorityTest, APasswordThatNobodyWasAskedForIsANo) {
  FakePolkit polkit(FakePolkit::Answer::kChallenge);
  EXPECT_THAT(AskPolkit(Myself(), Question()),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("administrator's password")));
}

TEST(AuthorityTest, WithoutPolkitNobodyIsLet) {
  FakePolkit polkit(FakePolkit::Answer::kAbsent);
  EXPECT_THAT(AskPolkit(Myself(), Question()),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("there is no polkit")));
}

TEST(AuthorityTest, WithoutABusNobodyIsLet) {
  setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
  EXPECT_THAT(AskPolkit(Myself(), Question()),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("polkit can't be asked")));
}

TEST(AuthorityTest, APolkitThatIsSilentIsNotWaitedForForEver) {
  FakePolkit polkit(FakePolkit::Answer::kSilence);
  AuthorityQuestion question = Question();
  question.patience = absl::Milliseconds(50);
  EXPECT_THAT(AskPolkit(Myself(), question),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("time")));
}

TEST(AuthorityTest, WhoGaveUpIsNotWaitedFor) {
  FakePolkit polkit(FakePolkit::Answer::kSilence);
  AuthorityQuestion question = Question();
  question.may_prompt = true;
  question.patience = absl::InfiniteDuration();
  question.is_cancelled = [] { return true; };
  EXPECT_THAT(AskPolkit(Myself(), question),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("polkit")));
}

TEST(AuthorityTest, ABusThatIsSilentIsNotWaitedForForEver) {
  const ShortDirectory directory;
  const UniqueFd listener = ListenAsBus(directory.path() + "/bus");
  AuthorityQuestion question = Question();
  question.patience = absl::Milliseconds(50);
  EXPECT_THAT(AskPolkit(Myself(), question),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("time")));
}

// Its pid may be another's by now, whom polkit would let.
TEST(AuthorityTest, AProcessThatHasEndedMayNothing) {
  FakePolkit polkit(FakePolkit::Answer::kYes);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd one(ends[0]), other(ends[1]);
  Caller caller = *CallerOf(one.get());
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  caller.pid = child;
  ASSERT_OK_AND_ASSIGN(UniqueFd process, OpenPidfd(child));
  caller.process = std::make_shared<const UniqueFd>(std::move(process));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_THAT(
      AskPolkit(caller, Question()),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("has ended")));
  EXPECT_EQ(polkit.pid(), 0U);
}

TEST(AuthorityTest, AProcessThatIsNotKnownMayNothing) {
  EXPECT_THAT(
      AskPolkit(Caller{.uid = 1000, .pid = 4711}, Question()),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("not known")));
}

}  // namespace
}  // namespace live_update
