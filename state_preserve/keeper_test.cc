#include "state_preserve/keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/keeper_client.h"
#include "state_preserve/keeper_protocol.h"
#include "testing/memory_file.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::ContentsOf;
using ::live_update::testing::IsOk;
using ::live_update::testing::MakeMemfd;
using ::live_update::testing::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

constexpr absl::Duration kSoon = absl::Seconds(5);

bool IsAlive(int pid) { return kill(pid, 0) == 0; }

// Whether process `pid` is gone soon. As a child of init it leaves no zombie,
// unless the container's init doesn't reap: then that counts as gone.
bool Ends(int pid) {
  for (const absl::Time end = absl::Now() + kSoon; absl::Now() < end;) {
    if (!IsAlive(pid)) return true;
    std::error_code error;
    if (fs::read_symlink(absl::StrCat("/proc/", pid, "/exe"), error).empty()) {
      return true;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

// /dev/null three times, the listener, what is kept.
constexpr size_t kOpenWithOneKept = 5;

// What `pid`, a keeper of one descriptor, has open. It closes a connection
// after it has answered: waits for that.
std::vector<std::string> OpenFiles(int pid) {
  std::vector<std::string> open;
  for (const absl::Time end = absl::Now() + kSoon; absl::Now() < end;) {
    open.clear();
    for (const auto& entry :
         fs::directory_iterator(absl::StrCat("/proc/", pid, "/fd"))) {
      std::error_code error;
      open.push_back(fs::read_symlink(entry.path(), error).string());
    }
    if (open.size() == kOpenWithOneKept) break;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return open;
}

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() : dir_(MakeDir()), keeper_(absl::StrCat(dir_, "/keeper.sock")) {}
  ~KeeperTest() override {
    if (const auto pid = keeper_.Pid(); pid.ok()) kill(*pid, SIGKILL);
    fs::remove_all(dir_);
  }

  // Bazel's own is too long for a socket's name.
  static std::string MakeDir() {
    std::string pattern = "/tmp/keeper_XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    return pattern;
  }

  int Start() {
    EXPECT_THAT(keeper_.EnsureStarted(), IsOk());
    const auto pid = keeper_.Pid();
    EXPECT_THAT(pid, IsOk());
    return pid.value_or(-1);
  }

  UniqueFd Connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    keeper_.socket_path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                      sizeof(address)),
              0);
    return fd;
  }

  // The keeper's answer to arbitrary bytes, with `fds` along.
  int ErrorFor(absl::string_view bytes, const std::vector<int>& fds) const {
    const UniqueFd socket = Connect();
    std::string packet(bytes);
    iovec data = {packet.data(), packet.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 64)] = {};
    if (!fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
    }
    EXPECT_GE(sendmsg(socket.get(), &message, MSG_NOSIGNAL), 0);
    KeeperReply reply{};
    EXPECT_EQ(recv(socket.get(), &reply, sizeof(reply), 0), sizeof(reply));
    return reply.error;
  }

  static std::string Bytes(const KeeperRequest& request) {
    return std::string(reinterpret_cast<const char*>(&request),
                       sizeof(request));
  }

  const std::string dir_;
  const KeeperClient keeper_;
};

TEST_F(KeeperTest, HoldsWhatItsGiverHasClosed) {
  Start();
  ASSERT_THAT(keeper_.Put("hu-vm-1", MakeMemfd("guest")), IsOk());
  ASSERT_THAT(keeper_.Put("new/hu-handover", MakeMemfd("image")), IsOk());
  EXPECT_THAT(keeper_.List().value(),
              ElementsAre("hu-vm-1", "new/hu-handover"));
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const UniqueFd fd, keeper_.Get("hu-vm-1"));
    EXPECT_EQ(ContentsOf(fd), "guest");
  }
  EXPECT_THAT(keeper_.Get("hu-vm-2"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("hu-vm-2")));
}

TEST_F(KeeperTest, NeverReplacesWhatItHolds) {
  Start();
  ASSERT_THAT(keeper_.Put("a", MakeMemfd("first")), IsOk());
  EXPECT_THAT(keeper_.Put("a", MakeMemfd("second")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("a")));
  ASSERT_OK_AND_ASSIGN(const UniqueFd fd, keeper_.Get("a"));
  EXPECT_EQ(ContentsOf(fd), "first");
}

TEST_F(KeeperTest, HasClosedADroppedDescriptorWhenItSaysSo) {
  Start();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  {
    const UniqueFd write_end(ends[1]);
    ASSERT_THAT(keeper_.Put("pipe", write_end), IsOk());
  }
  ASSERT_THAT(keeper_.Put("other", read_end), IsOk());
  ASSERT_EQ(fcntl(read_end.get(), F_SETFL, O_NONBLOCK), 0);
  char byte;
  EXPECT_EQ(read(read_end.get(), &byte, 1), -1);  // A writer is there.
  EXPECT_THAT(keeper_.Drop("pipe"), IsOk());
  EXPECT_EQ(read(read_end.get(), &byte, 1), 0);
  EXPECT_THAT(keeper_.Drop("pipe"), IsOk());
  EXPECT_THAT(keeper_.List().value(), ElementsAre("other"));
}

TEST_F(KeeperTest, EndsWithTheLastDescriptor) {
  const int pid = Start();
  ASSERT_THAT(keeper_.Put("a", MakeMemfd("a")), IsOk());
  ASSERT_THAT(keeper_.Drop("a"), IsOk());
  EXPECT_TRUE(Ends(pid));
  EXPECT_THAT(keeper_.List().value(), IsEmpty());
  EXPECT_THAT(keeper_.Drop("a"), IsOk());
  EXPECT_THAT(keeper_.Get("a"), StatusIs(absl::StatusCode::kNotFound,
                                         ""
                                         "no keeper listens on " +
                                             keeper_.socket_path()));
  EXPECT_THAT(keeper_.Put("a", MakeMemfd("a")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no keeper listens")));
  EXPECT_NE(access(keeper_.socket_path().c_str(), F_OK), 0);
  EXPECT_NE(Start(), pid);
}

TEST_F(KeeperTest, EndsOnRequestOnlyIfItHoldsNothing) {
  const int pid = Start();
  ASSERT_THAT(keeper_.Put("a", MakeMemfd("a")), IsOk());
  EXPECT_THAT(keeper_.EndIfEmpty(), IsOk());
  EXPECT_THAT(keeper_.Get("a"), IsOk());
  ASSERT_THAT(keeper_.Drop("a"), IsOk());
  EXPECT_TRUE(Ends(pid));
  const int other = Start();
  EXPECT_THAT(keeper_.EndIfEmpty(), IsOk());
  EXPECT_TRUE(Ends(other));
  EXPECT_THAT(keeper_.EndIfEmpty(), IsOk());
}

TEST_F(KeeperTest, OutlivesTheProcessThatStartedIt) {
  const pid_t child = fork();
  if (child == 0) {
    const bool ok = keeper_.EnsureStarted().ok() &&
                    keeper_.Put("a", MakeMemfd("from the dead")).ok();
    if (!ok) _exit(1);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_OK_AND_ASSIGN(const UniqueFd fd, keeper_.Get("a"));
  EXPECT_EQ(ContentsOf(fd), "from the dead");
}

TEST_F(KeeperTest, HoldsNothingOfItsParent) {
  const UniqueFd secret = MakeMemfd("not for the keeper");
  ASSERT_EQ(fcntl(secret.get(), F_SETFD, 0), 0);
  const int pid = Start();
  ASSERT_THAT(keeper_.Put("a", MakeMemfd("a")), IsOk());
  const std::vector<std::string> open = OpenFiles(pid);
  EXPECT_THAT(open, SizeIs(kOpenWithOneKept));
  EXPECT_THAT(open, Contains("/dev/null").Times(3));
  EXPECT_EQ(getsid(pid), getpgid(pid));
  EXPECT_NE(getsid(pid), getsid(0));
  struct stat file {};
  ASSERT_EQ(stat(keeper_.socket_path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600);
}

TEST_F(KeeperTest, ListsMoreThanOneReplyHolds) {
  Start();
  const UniqueFd fd = MakeMemfd("x");
  constexpr int kCount = 3 * kKeeperNamesPerReply + 1;
  for (int i = 0; i < kCount; ++i) {
    ASSERT_THAT(keeper_.Put(absl::StrCat("n", i), fd), IsOk());
  }
  EXPECT_THAT(keeper_.List().value(), SizeIs(kCount));
  ASSERT_THAT(keeper_.Drop("n5"), IsOk());
  EXPECT_THAT(keeper_.List().value(), SizeIs(kCount - 1));
}

TEST_F(KeeperTest, RefusesNamesThatAreNone) {
  Start();
  const UniqueFd fd = MakeMemfd("x");
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a\nb"),
        std::string(kKeeperNameBytes, 'a')}) {
    EXPECT_THAT(keeper_.Put(name, fd),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << name;
  }
  EXPECT_THAT(keeper_.Put(std::string(kKeeperNameBytes - 1, 'a'), fd), IsOk());
}

TEST_F(KeeperTest, StandsUpToStrangersAndLosesNothing) {
  const int pid = Start();
  ASSERT_THAT(keeper_.Put("a", MakeMemfd("a")), IsOk());
  const int fd = STDERR_FILENO;
  KeeperRequest put = {
      .magic = kKeeperMagic, .operation = KeeperOperation::kPut, .name = "b"};
  KeeperRequest get = {
      .magic = kKeeperMagic, .operation = KeeperOperation::kGet, .name = "a"};
  KeeperRequest list = {.magic = kKeeperMagic,
                        .operation = KeeperOperation::kList,
                        .first_slot = kKeeperMaxEntries + 1};
  KeeperRequest unknown = {.magic = kKeeperMagic,
                           .operation = static_cast<KeeperOperation>(99)};
  KeeperRequest unterminated = get;
  std::memset(unterminated.name, 'a', sizeof(unterminated.name));
  KeeperRequest foreign = get;
  foreign.magic = 1;

  EXPECT_EQ(ErrorFor("x", {}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(get) + "x", {}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(foreign), {}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(unknown), {}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(put), {}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(put), {fd, fd}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(put), std::vector<int>(60, fd)), EMFILE);
  EXPECT_EQ(ErrorFor(Bytes(get), {fd}), EPROTO);
  EXPECT_EQ(ErrorFor(Bytes(list), {}), EINVAL);
  EXPECT_EQ(ErrorFor(Bytes(unterminated), {}), EINVAL);
  { const UniqueFd silent = Connect(); }  // Hangs up without a word.

  EXPECT_THAT(keeper_.List().value(), ElementsAre("a"));
  EXPECT_THAT(OpenFiles(pid), SizeIs(kOpenWithOneKept));
}

TEST_F(KeeperTest, IsNotHeldUpByAPeerThatSaysNothing) {
  Start();
  const UniqueFd silent = Connect();
  EXPECT_THAT(keeper_.Put("a", MakeMemfd("a")), IsOk());
}

TEST_F(KeeperTest, IsForItsOwnUserOnly) {
  if (geteuid() != 0) GTEST_SKIP() << "takes another user's rights";
  Start();
  ASSERT_EQ(chmod(dir_.c_str(), 0755), 0);
  ASSERT_EQ(chmod(keeper_.socket_path().c_str(), 0666), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
    _exit(keeper_.Pid().status().code() == absl::StatusCode::kUnavailable ? 0
                                                                          : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no other user here";
  EXPECT_EQ(status, 0);
  EXPECT_THAT(keeper_.Pid(), IsOk());
}

TEST_F(KeeperTest, StartsNoneWhereItsNameCanNotBe) {
  EXPECT_THAT(StartKeeper(absl::StrCat(dir_, "/none/keeper.sock")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("bind")));
  EXPECT_THAT(
      StartKeeper(absl::StrCat("/tmp/", std::string(200, 'x'))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too long")));
}

}  // namespace
}  // namespace live_update
