// Many clients at once, most of them hostile: the service answers or refuses,
// stays, and an update under way does not notice. Connections and service are
// the real ones on a real socket; the worker is a fake.

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel_posix.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "host_update/cli/exit_code.h"
#include "host_update/qemu/unix_socket.h"
#include "host_update/service/connections.h"
#include "host_update/service/operation_runner.h"
#include "host_update/service/operation_store.h"
#include "host_update/worker/framed_message.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr absl::Duration kSiege = absl::Seconds(8);
constexpr uid_t kOthers = 60000;  // And some above: nobody's.

// A worker whose other end is the test's; only the first one is ever answered.
class OneWorker final : public WorkerClient {
 public:
  absl::StatusOr<std::unique_ptr<WorkerCall>> Begin(
      const WorkerRequest& request) override {
    absl::MutexLock lock(&mutex_);
    if (!request.has_update() || end_.ok()) {
      ++others_;
      return absl::UnavailableError("there is one worker");
    }
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      return absl::InternalError("socketpair");
    }
    end_ = UniqueFd(ends[1]);
    return std::make_unique<WorkerCall>(UniqueFd(ends[0]));
  }

  void Send(const WorkerReply& reply) {
    absl::MutexLock lock(&mutex_);
    EXPECT_THAT(SendMessage(end_.get(), reply, kLargestReply,
                            absl::Now() + absl::Seconds(10)),
                IsOk());
  }

  // Whether the daemon has hung up on it, which stops an update.
  bool IsAskedToStop() {
    absl::MutexLock lock(&mutex_);
    pollfd event = {.fd = end_.get(), .events = POLLRDHUP, .revents = 0};
    return poll(&event, 1, 0) > 0 && (event.revents & POLLRDHUP) != 0;
  }

  int others() {
    absl::MutexLock lock(&mutex_);
    return others_;
  }

 private:
  absl::Mutex mutex_;
  UniqueFd end_ ABSL_GUARDED_BY(mutex_);
  int others_ ABSL_GUARDED_BY(mutex_) = 0;
};

int OpenDescriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// Makes the calling thread, and no other, another user's for good.
bool BecomeUser(uid_t uid) {
  return syscall(SYS_setresgid, uid, uid, uid) == 0 &&
         syscall(SYS_setresuid, uid, uid, uid) == 0;
}

bool CanBeOthers() {
  bool can = false;
  std::thread([&can] { can = BecomeUser(kOthers); }).join();
  return can;
}

// --- HTTP/2, as far as one must know it to break it ---

std::string Preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; }

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                  const std::string& payload, int64_t claimed_size = -1) {
  const auto size = static_cast<uint32_t>(
      claimed_size < 0 ? payload.size() : static_cast<size_t>(claimed_size));
  std::string frame;
  for (const uint32_t byte :
       {size >> 16, size >> 8, size, uint32_t{type}, uint32_t{flags},
        stream >> 24, stream >> 16, stream >> 8, stream}) {
    frame.push_back(static_cast<char>(byte));
  }
  return frame + payload;
}

std::string Settings() { return Frame(4, 0, 0, ""); }

// A literal header without indexing, HPACK.
std::string Header(const std::string& name, const std::string& value) {
  std::string text(1, '\0');
  for (const std::string& word : {name, value}) {
    text.push_back(static_cast<char>(word.size()));
    text += word;
  }
  return text;
}

std::string Headers(uint32_t stream, const std::string& method,
                    uint8_t flags = 4) {
  return Frame(1, flags, stream,
               Header(":method", "POST") + Header(":scheme", "http") +
                   Header(":path", "/live_update.v1.HostUpdate/" + method) +
                   Header(":authority", "x") + Header("te", "trailers") +
                   Header("content-type", "application/grpc"));
}

std::string Message(uint32_t stream, const std::string& body,
                    uint32_t claimed_size) {
  std::string data(1, '\0');
  for (const int shift : {24, 16, 8, 0}) {
    data.push_back(static_cast<char>(claimed_size >> shift));
  }
  return Frame(0, 1, stream, data + body);
}

class HostileClientsTest : public ::testing::Test {
 protected:
  HostileClientsTest()
      : directory_(absl::StrCat("/tmp/hostile-", getpid())),
        path_(directory_ + "/api.sock") {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_ + "/operations");
    store_ = *OperationStore::Open(directory_ + "/operations");
    runner_ = std::make_unique<OperationRunner>(*store_, worker_);
    listener_ = *ListenUnix(path_, getuid(), getgid());
    std::filesystem::permissions(directory_, std::filesystem::perms::all);
    std::filesystem::permissions(path_, std::filesystem::perms::all);
    connections_ = std::make_unique<Connections>(
        ServiceParts{.store = *store_,
                     .runner = *runner_,
                     .workers = worker_,
                     .authority =
                         [](const Caller&, const AuthorityQuestion&) {
                           return absl::PermissionDeniedError("no");
                         }},
        stop_);
    accepting_ = std::thread([this] {
      while (!stopped_) {
        pollfd event = {.fd = listener_.get(), .events = POLLIN, .revents = 0};
        if (poll(&event, 1, 50) > 0) {
          connections_->AcceptFrom(listener_.get(), true, "no-such-group");
        }
      }
    });
  }

  ~HostileClientsTest() override {
    stopped_ = true;
    accepting_.join();
    stop_.Set();
    connections_.reset();
    std::filesystem::remove_all(directory_);
  }

  int ConnectRaw() {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
      close(fd);
      return -1;
    }
    // A server that takes nothing more shall not hold up the test.
    const timeval limit = {.tv_sec = 0, .tv_usec = 200'000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
  }

  static bool Send(int fd, const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t put =
          send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) return false;
      sent += static_cast<size_t>(put);
    }
    return true;
  }

  // A thread that does `act` with one new connection after the other, as `uid`.
  void Besiege(uid_t uid,
               std::function<void(int fd, std::mt19937& random)> act) {
    besiegers_.emplace_back(
        [this, uid, act = std::move(act), seed = besiegers_.size()] {
          if (uid != 0 && !BecomeUser(uid)) return;
          std::mt19937 random(static_cast<unsigned>(seed));
          while (!peace_) {
            const int fd = ConnectRaw();
            if (fd >= 0) {
              act(fd, random);
              close(fd);
              ++attacks_;
            } else {
              absl::SleepFor(absl::Milliseconds(5));
            }
          }
        });
  }

  void WaitForPeaceOr(absl::Duration limit) {
    const absl::Time end = absl::Now() + limit;
    while (!peace_ && absl::Now() < end) absl::SleepFor(absl::Milliseconds(20));
  }

  // Reads and throws away what has come.
  static void Drain(int fd) {
    char buffer[4096];
    while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0) {
    }
  }

  void EndSiege() {
    peace_ = true;
    for (std::thread& thread : besiegers_) thread.join();
    besiegers_.clear();
  }

  std::unique_ptr<v1::HostUpdate::Stub> Client() {
    return v1::HostUpdate::NewStub(
        grpc::CreateInsecureChannelFromFd("hostupdated", ConnectRaw()));
  }

  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(60));
  }

  bool Lists(v1::HostUpdate::Stub& stub) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ListOperationsResponse response;
    const grpc::Status status =
        stub.ListOperations(&context, v1::ListOperationsRequest(), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return status.ok();
  }

  std::string Begin(v1::HostUpdate::Stub& stub) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ExecuteRequest request;
    request.mutable_target()->set_kernel("/boot/vmlinuz");
    v1::Operation operation;
    const grpc::Status status = stub.Execute(&context, request, &operation);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return operation.id();
  }

  void BesiegeByAllMeans();

  const std::string directory_;
  const std::string path_;
  OneWorker worker_;
  WakeUp stop_ = *WakeUp::Create();
  std::unique_ptr<OperationStore> store_;
  std::unique_ptr<OperationRunner> runner_;
  UniqueFd listener_;
  std::unique_ptr<Connections> connections_;
  std::atomic<bool> stopped_ = false;
  std::thread accepting_;
  std::atomic<bool> peace_ = false;
  std::atomic<int> attacks_ = 0;
  std::vector<std::thread> besiegers_;
};

void HostileClientsTest::BesiegeByAllMeans() {
  const auto other = [](uid_t n) { return kOthers + n; };
  // Bytes of no protocol.
  Besiege(other(0), [](int fd, std::mt19937& random) {
    std::string bytes(random() % 5000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Send(fd, bytes);
  });
  // Right up to a point, then noise.
  Besiege(other(1), [](int fd, std::mt19937& random) {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Send(fd, Preface() + Settings() + Headers(1, "ListOperations"));
    Send(fd, bytes);
    Drain(fd);
  });
  // A frame that says it is huge; one of headers that never end.
  Besiege(other(2), [](int fd, std::mt19937&) {
    Send(fd, Preface() + Settings() + Frame(0, 0, 1, "x", 0xffffff));
    Drain(fd);
  });
  Besiege(other(3), [](int fd, std::mt19937&) {
    Send(fd, Preface() + Settings() + Headers(1, "Watch", /*flags=*/0));
    for (int i = 0; i < 2000; ++i) {
      if (!Send(fd, Frame(9, 0, 1, Header("x", std::string(100, 'y'))))) break;
    }
  });
  // Many streams that are begun and reset at once.
  Besiege(other(4), [](int fd, std::mt19937&) {
    Send(fd, Preface() + Settings());
    for (uint32_t stream = 1; stream < 2000; stream += 2) {
      if (!Send(fd, Headers(stream, "Watch") +
                        Frame(3, 0, stream, std::string(4, '\0')))) {
        break;
      }
      Drain(fd);
    }
  });
  // Settings and pings whose answers nobody reads.
  Besiege(other(5), [](int fd, std::mt19937&) {
    Send(fd, Preface());
    for (int i = 0; i < 20000; ++i) {
      if (!Send(fd, Settings() + Frame(6, 0, 0, std::string(8, 'p')))) break;
    }
  });
  // Messages that are larger than may be, and ones that say so and aren't.
  Besiege(other(6), [](int fd, std::mt19937& random) {
    Send(fd, Preface() + Settings());
    const std::string part(16 << 10, 'm');
    Send(fd, Headers(1, random() % 2 == 0 ? "Execute" : "ListOperations"));
    Send(fd, Message(1, part, random() % 2 == 0 ? 0xffffffff : 1 << 20));
    for (int i = 0; i < 100; ++i) {
      if (!Send(fd, Frame(0, 0, 1, part))) break;
      Drain(fd);
    }
  });
  // Questions by the hundred whose answers nobody reads.
  Besiege(other(7), [this](int fd, std::mt19937&) {
    Send(fd, Preface() + Settings());
    for (uint32_t stream = 1; stream < 400 && !peace_; stream += 2) {
      if (!Send(fd,
                Headers(stream, "ListOperations") + Message(stream, "", 0))) {
        break;
      }
    }
    WaitForPeaceOr(absl::Milliseconds(500));
  });
  // Half-open: nothing comes, for as long as the siege lasts. Of one user, more
  // than there may be of one.
  for (int i = 0; i < 20; ++i) {
    Besiege(other(8), [this](int fd, std::mt19937&) {
      pollfd event = {.fd = fd, .events = POLLRDHUP, .revents = 0};
      while (!peace_ && poll(&event, 1, 50) == 0) {
      }
    });
  }
  // Come and go.
  for (int i = 0; i < 2; ++i) {
    Besiege(other(9 + i), [](int, std::mt19937&) {});
  }
  // A client as it should be, of a user who may not: each call is refused.
  for (int i = 0; i < 3; ++i) {
    besiegers_.emplace_back([this, user = other(11 + i)] {
      ASSERT_TRUE(BecomeUser(user));
      while (!peace_) {
        const int fd = ConnectRaw();
        if (fd < 0) continue;
        auto stub = v1::HostUpdate::NewStub(
            grpc::CreateInsecureChannelFromFd("hostupdated", fd));
        for (int j = 0; j < 20 && !peace_; ++j) {
          grpc::ClientContext context;
          SetDeadline(context);
          v1::Operation operation;
          const grpc::Status status =
              j % 2 == 0
                  ? stub->Abort(&context, v1::AbortRequest(), &operation)
                  : stub->Execute(&context, v1::ExecuteRequest(), &operation);
          // Refused, or the connection was one too many.
          EXPECT_TRUE(status.error_code() ==
                          grpc::StatusCode::PERMISSION_DENIED ||
                      status.error_code() == grpc::StatusCode::UNAVAILABLE)
              << status.error_code() << " " << status.error_message();
          ++attacks_;
        }
      }
    });
  }
}

TEST_F(HostileClientsTest, AnUpdateUnderWayDoesNotNotice) {
  if (!CanBeOthers()) GTEST_SKIP() << "this needs root, not in a namespace";
  auto client = Client();
  const std::string id = Begin(*client);
  ASSERT_NE(id, "");
  std::vector<std::string> seen;
  std::thread watcher([this, &id, &seen] {
    auto stub = Client();
    grpc::ClientContext context;
    SetDeadline(context);
    v1::WatchRequest request;
    request.set_operation_id(id);
    auto reader = stub->Watch(&context, request);
    v1::Event event;
    while (reader->Read(&event)) {
      if (!event.phase().empty() &&
          (seen.empty() || seen.back() != event.phase())) {
        seen.push_back(event.phase());
      }
    }
    EXPECT_TRUE(reader->Finish().ok());
  });
  BesiegeByAllMeans();
  const std::vector<std::string> phases = {"prepare", "pause", "save",
                                           "commit"};
  absl::Duration slowest;
  int answered = 0;
  for (const std::string& phase : phases) {
    WorkerReply reply;
    reply.set_phase(phase);
    worker_.Send(reply);
    const absl::Time end = absl::Now() + kSiege / phases.size();
    while (absl::Now() < end) {
      const absl::Time start = absl::Now();
      answered += Lists(*client) ? 1 : 0;
      slowest = std::max(slowest, absl::Now() - start);
      // New connections are taken as well.
      auto another = Client();
      answered += Lists(*another) ? 1 : 0;
    }
  }
  EXPECT_FALSE(worker_.IsAskedToStop());
  WorkerReply done;
  done.mutable_result()->set_exit_code(
      static_cast<int>(ExitCode::kFailedUnharmed));
  done.mutable_result()->mutable_report()->set_result(
      UpdateReport::FAILED_UNHARMED);
  worker_.Send(done);
  watcher.join();
  EndSiege();
  EXPECT_THAT(seen, ElementsAre("check", "prepare", "pause", "save", "commit"));
  EXPECT_EQ(store_->Get(id)->state(), v1::Operation::FAILED);
  EXPECT_THAT(store_->List(10), SizeIs(1));  // Nobody has begun another one.
  EXPECT_EQ(worker_.others(), 0);
  EXPECT_GT(answered, 4);
  EXPECT_GT(attacks_, 100);
  RecordProperty("answered", answered);
  RecordProperty("attacks", attacks_.load());
  std::printf("%d attacks, %d answers, the slowest after %s\n", attacks_.load(),
              answered, absl::FormatDuration(slowest).c_str());
}

TEST_F(HostileClientsTest, ASiegeLeavesNoDescriptor) {
  if (!CanBeOthers()) GTEST_SKIP() << "this needs root, not in a namespace";
  const auto besieged = [this] {
    peace_ = false;
    BesiegeByAllMeans();
    WaitForPeaceOr(absl::Seconds(2));
    EndSiege();
    // What has ended is put away when the next one comes.
    int descriptors = 0;
    for (int i = 0; i < 3; ++i) {
      absl::SleepFor(absl::Seconds(1));
      auto client = Client();
      EXPECT_TRUE(Lists(*client));
      client.reset();
      absl::SleepFor(absl::Milliseconds(300));
      descriptors = OpenDescriptors();
    }
    return descriptors;
  };
  const int first = besieged();
  const int second = besieged();
  EXPECT_LE(second, first + 5);
}

// systemd gives a service 1024.
TEST_F(HostileClientsTest, DescriptorsSufficeForAllConnections) {
  if (!CanBeOthers()) GTEST_SKIP() << "this needs root, not in a namespace";
  const int before = OpenDescriptors();
  std::vector<UniqueFd> clients;
  absl::Mutex mutex;
  std::vector<std::thread> threads;
  for (const uid_t uid : {uid_t{0}, kOthers, kOthers + 1, kOthers + 2}) {
    threads.emplace_back([&, uid] {
      if (uid != 0 && !BecomeUser(uid)) return;
      for (int i = 0; i < 20; ++i) {
        UniqueFd fd(ConnectRaw());
        if (!fd.ok() || !Send(fd.get(), Preface() + Settings())) continue;
        absl::MutexLock lock(&mutex);
        clients.push_back(std::move(fd));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  absl::SleepFor(absl::Seconds(2));
  const int of_service =
      OpenDescriptors() - before - static_cast<int>(clients.size());
  RecordProperty("descriptors", of_service);
  std::printf("%d descriptors for as many connections as there may be\n",
              of_service);
  EXPECT_GT(of_service, 100);
  EXPECT_LT(of_service, 1024 - 128);
}

}  // namespace
}  // namespace live_update
