#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/qemu/cpr_peer.h"
#include "host_update/qemu/cpr_stream.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

// Long: the tests end when something happens, not at a time.
absl::Time Soon() { return absl::Now() + absl::Seconds(20); }
absl::Time VerySoon() { return absl::Now() + absl::Milliseconds(50); }

absl::Status AnyPeer(pid_t /*pid*/, uid_t /*uid*/) { return absl::OkStatus(); }

std::vector<CprFd> Blocks() {
  std::vector<CprFd> fds(2);
  fds[0] = {.name = "pc.ram",
            .id = 0,
            .fd = UniqueFd(memfd_create("a", MFD_CLOEXEC))};
  fds[1] = {.name = "pc.bios",
            .id = 0,
            .fd = UniqueFd(memfd_create("b", MFD_CLOEXEC))};
  return fds;
}

ino_t Inode(const UniqueFd& fd) {
  struct stat info = {};
  EXPECT_EQ(fstat(fd.get(), &info), 0);
  return info.st_ino;
}

// The QEMU that listens: reads as qemu_fill_buffer() does, many bytes at once,
// and takes the descriptors in the order in which they come.
absl::StatusOr<std::vector<CprFd>> ReceiveLikeQemu(int listener) {
  LU_ASSIGN_OR_RETURN(const UniqueFd connection,
                      AcceptUnix(listener, "a client", nullptr, Soon()));
  std::string bytes;
  std::vector<UniqueFd> fds;
  std::array<uint8_t, 32768> buffer;
  while (true) {
    LU_ASSIGN_OR_RETURN(Received received,
                        ReceiveWithFds(connection.get(), absl::MakeSpan(buffer),
                                       "the stream", nullptr, Soon()));
    if (received.bytes == 0) break;
    bytes.append(reinterpret_cast<const char*>(buffer.data()), received.bytes);
    for (UniqueFd& fd : received.fds) fds.push_back(std::move(fd));
  }
  CprStreamParser parser;
  absl::string_view rest = bytes;
  size_t next_fd = 0;
  while (!rest.empty()) {
    const absl::string_view piece = rest.substr(0, parser.BytesWanted());
    UniqueFd fd;
    if (parser.FdDue() && next_fd < fds.size()) fd = std::move(fds[next_fd++]);
    LU_RETURN_IF_ERROR(parser.Add(
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(piece.data()),
                            piece.size()),
        std::move(fd)));
    rest.remove_prefix(piece.size());
  }
  if (next_fd != fds.size()) return absl::DataLossError("surplus descriptors");
  return std::move(parser).Finish();
}

class CprLoaderTest : public ::testing::Test {
 protected:
  CprLoaderTest() {
    // TempDir() may be longer than a socket path can be.
    std::string name = "/tmp/loadXXXXXX";
    directory_ = mkdtemp(name.data());
    socket_ = absl::StrCat(directory_, "/cpr");
  }
  ~CprLoaderTest() override {
    (void)unlink(socket_.c_str());
    (void)rmdir(directory_.c_str());
  }

  absl::StatusOr<UniqueFd> Listen() {
    return ListenUnix(socket_, getuid(), getgid());
  }

  std::string directory_;
  std::string socket_;
  CprLoader loader_ = CprLoader::Create().value();
};

TEST_F(CprLoaderTest, HandsOverEachDescriptorUnderItsName) {
  const std::vector<CprFd> fds = Blocks();
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener, Listen());
  absl::StatusOr<std::vector<CprFd>> received;
  std::thread qemu([&] { received = ReceiveLikeQemu(listener.get()); });
  EXPECT_THAT(loader_.Send(socket_, fds, AnyPeer, Soon()), IsOk());
  qemu.join();
  ASSERT_THAT(received, IsOk());
  ASSERT_THAT(*received, SizeIs(2));
  EXPECT_EQ((*received)[0].name, "pc.ram");
  EXPECT_EQ(Inode((*received)[0].fd), Inode(fds[0].fd));
  EXPECT_EQ(Inode((*received)[1].fd), Inode(fds[1].fd));
}

TEST_F(CprLoaderTest, WaitsForASocketThatComesLater) {
  const std::vector<CprFd> fds = Blocks();
  absl::StatusOr<std::vector<CprFd>> received;
  std::thread qemu([&] {
    absl::SleepFor(absl::Milliseconds(30));
    absl::StatusOr<UniqueFd> listener = Listen();
    if (listener.ok()) received = ReceiveLikeQemu(listener->get());
  });
  EXPECT_THAT(loader_.Send(socket_, fds, AnyPeer, Soon()), IsOk());
  qemu.join();
  EXPECT_THAT(received, IsOk());
}

TEST_F(CprLoaderTest, GivesUpAtTheDeadlineIfNobodyListens) {
  EXPECT_THAT(loader_.Send(socket_, Blocks(), AnyPeer, VerySoon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("QEMU to listen on its cpr channel")));
}

TEST_F(CprLoaderTest, BreaksOffWhileNobodyListens) {
  std::thread other([this] {
    absl::SleepFor(absl::Milliseconds(30));
    loader_.BreakOff();
  });
  EXPECT_THAT(loader_.Send(socket_, Blocks(), AnyPeer, Soon()),
              StatusIs(absl::StatusCode::kCancelled, _));
  other.join();
}

TEST_F(CprLoaderTest, BreaksOffBeforeItBegins) {
  loader_.BreakOff();
  EXPECT_THAT(loader_.Send(socket_, Blocks(), AnyPeer, Soon()),
              StatusIs(absl::StatusCode::kCancelled, _));
}

TEST_F(CprLoaderTest, SendsNothingToTheWrongProcess) {
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener, Listen());
  EXPECT_THAT(loader_.Send(
                  socket_, Blocks(),
                  [](pid_t pid, uid_t uid) {
                    EXPECT_EQ(pid, getpid());
                    EXPECT_EQ(uid, getuid());
                    return absl::PermissionDeniedError("not that one");
                  },
                  Soon()),
              StatusIs(absl::StatusCode::kPermissionDenied, "not that one"));
  EXPECT_THAT(ReceiveLikeQemu(listener.get()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("offset 0")));
}

// More than any socket buffer holds.
std::vector<CprFd> VeryManyBlocks() {
  std::vector<CprFd> fds(500);
  for (size_t i = 0; i < fds.size(); ++i) {
    fds[i] = {.name = absl::StrCat(std::string(900, 'x'), i),
              .id = 0,
              .fd = UniqueFd(dup(0))};
  }
  return fds;
}

TEST_F(CprLoaderTest, GivesUpAtTheDeadlineIfQemuDoesNotRead) {
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener, Listen());
  EXPECT_THAT(loader_.Send(socket_, VeryManyBlocks(), AnyPeer,
                           absl::Now() + absl::Milliseconds(500)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("QEMU to read its cpr channel")));
}

TEST_F(CprLoaderTest, NoticesThatQemuHangsUp) {
  ASSERT_OK_AND_ASSIGN(UniqueFd listener, Listen());
  std::thread qemu([&listener] {
    absl::StatusOr<UniqueFd> connection =
        AcceptUnix(listener.get(), "a client", nullptr, Soon());
    EXPECT_THAT(connection, IsOk());
    absl::SleepFor(absl::Milliseconds(20));
  });
  EXPECT_THAT(loader_.Send(socket_, VeryManyBlocks(), AnyPeer, Soon()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("hung up")));
  qemu.join();
}

}  // namespace
}  // namespace live_update
