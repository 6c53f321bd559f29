// SaveOverCpr and CprLoader against real QEMUs. Not part of //...: it needs a
// QEMU >= 10.0 by the name that the environment variable QEMU_SYSTEM gives:
//
//   bazel test --test_env=QEMU_SYSTEM=/usr/bin/qemu-system-x86_64
//     //host_update/qemu:cpr_peer_qemu_test
//
// The guest is a boot sector that counts, once in memory and once in a register
// that it copies to memory. Both counts must stay equal: the one is carried by
// RAM, the other by the device state.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/qemu/cpr_peer.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

constexpr size_t kRamBytes = size_t{64} << 20;

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

// loop: inc dword [0x8000]; inc ebx; mov [0x8004], ebx; jmp loop
constexpr unsigned char kBootSector[] = {
    0x31, 0xc0,                    // xor ax, ax
    0x8e, 0xd8,                    // mov ds, ax
    0x66, 0x31, 0xdb,              // xor ebx, ebx
    0x66, 0x89, 0x1e, 0x00, 0x80,  // mov [0x8000], ebx
    0x66, 0xff, 0x06, 0x00, 0x80,  // inc dword [0x8000]
    0x66, 0x43,                    // inc ebx
    0x66, 0x89, 0x1e, 0x04, 0x80,  // mov [0x8004], ebx
    0xeb, 0xf2,                    // jmp
};

// QMP over a socket of our own.
class SocketQmp : public QmpChannel {
 public:
  absl::Status Connect(const std::string& path, absl::Time deadline) {
    while (true) {
      absl::StatusOr<UniqueFd> socket = ConnectUnix(path);
      if (socket.ok()) {
        socket_ = std::move(*socket);
        break;
      }
      if (absl::Now() > deadline) return socket.status();
      absl::SleepFor(absl::Milliseconds(10));
    }
    LU_RETURN_IF_ERROR(ReadLine(deadline).status());  // The greeting.
    return Execute(R"({"execute":"qmp_capabilities"})", deadline).status();
  }

  absl::StatusOr<std::string> Execute(const std::string& command,
                                      absl::Time deadline) override {
    const absl::MutexLock lock(&mutex_);
    LU_RETURN_IF_ERROR(
        SendWithFd(socket_.get(), command, -1, "QMP", nullptr, deadline));
    while (true) {
      LU_ASSIGN_OR_RETURN(std::string line, ReadLine(deadline));
      if (!absl::StrContains(line, "\"event\":")) return line;
    }
  }

 private:
  absl::StatusOr<std::string> ReadLine(absl::Time deadline) {
    std::string line;
    uint8_t byte = 0;
    while (byte != '\n') {
      LU_ASSIGN_OR_RETURN(
          const Received received,
          ReceiveWithFds(socket_.get(), absl::MakeSpan(&byte, 1), "QMP",
                         nullptr, deadline));
      if (received.bytes == 0) return absl::UnavailableError("QEMU is gone");
      line.push_back(static_cast<char>(byte));
    }
    return line;
  }

  absl::Mutex mutex_;
  UniqueFd socket_;
};

// Empty: none was named.
std::string QemuProgram() {
  const char* const program = getenv("QEMU_SYSTEM");
  return program == nullptr ? "" : program;
}

class Qemu {
 public:
  Qemu(const std::string& directory, const std::string& name,
       const std::string& memory_backend,
       const std::vector<std::string>& more = {}) {
    const std::string qmp_path = absl::StrCat(directory, "/", name, ".qmp");
    std::vector<std::string> arguments = {
        QemuProgram(),
        "-machine",
        "q35,memory-backend=pc.ram",
        "-machine",
        "aux-ram-share=on",
        "-accel",
        "tcg",
        "-m",
        "64M",
        "-object",
        memory_backend,
        "-nodefaults",
        "-display",
        "none",
        "-vga",
        "std",
        "-drive",
        absl::StrCat("file=", directory, "/boot.img,format=raw,if=ide"),
        "-qmp",
        absl::StrCat("unix:", qmp_path, ",server=on,wait=off")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(
        posix_spawn(&pid_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
    qmp_path_ = qmp_path;
  }

  ~Qemu() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void Connect() { ASSERT_THAT(channel_.Connect(qmp_path_, Soon()), IsOk()); }

  void Do(const std::string& command) {
    absl::StatusOr<std::string> reply = channel_.Execute(command, Soon());
    ASSERT_THAT(reply, IsOk());
    ASSERT_THAT(ParseQmpReply(*reply), IsOk());
  }

  void WaitForStatus(const std::string& status) {
    while (qmp_.QueryStatus(Soon()).value() != status) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  SocketQmp& channel() { return channel_; }
  Qmp& qmp() { return qmp_; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  std::string qmp_path_;
  SocketQmp channel_;
  Qmp qmp_{&channel_};
};

class CprPeerQemuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (QemuProgram().empty()) {
      GTEST_SKIP() << "QEMU_SYSTEM names no QEMU >= 10.0";
    }
    // On tmpfs: a file there is as good as a memfd or a file on DAX.
    std::string name = "/dev/shm/cprXXXXXX";
    directory_ = mkdtemp(name.data());
    std::string image(size_t{1} << 20, '\0');
    std::copy(std::begin(kBootSector), std::end(kBootSector), image.begin());
    image[510] = '\x55';
    image[511] = '\xaa';
    std::ofstream(absl::StrCat(directory_, "/boot.img"), std::ios::binary)
        << image;
    options_.directory = directory_;
    options_.uid = getuid();
    options_.gid = getgid();
  }

  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::string Memfd() const {
    return "memory-backend-memfd,id=pc.ram,size=64M,share=on,"
           "x-use-canonical-path-for-ramblock-id=off";
  }

  // Runs until the guest counts, pauses, saves.
  absl::StatusOr<SavedVm> PauseAndSave(Qemu& qemu) {
    options_.check_peer = [&qemu](pid_t pid, uid_t /*uid*/) {
      return pid == qemu.pid() ? absl::OkStatus()
                               : absl::PermissionDeniedError(absl::StrCat(
                                     "pid ", pid, ", not ", qemu.pid()));
    };
    qemu.Do(R"({"execute":"stop"})");
    const absl::Time start = absl::Now();
    absl::StatusOr<SavedVm> saved =
        SaveOverCpr(qemu.channel(), options_, Soon());
    std::printf("save: %s\n",
                absl::FormatDuration(absl::Now() - start).c_str());
    return saved;
  }

  // Starts a QEMU that takes `saved` over, and lets it run.
  // `devices` are the arguments that the old one had for its devices.
  std::unique_ptr<Qemu> Load(const std::string& name, const SavedVm& saved,
                             const std::vector<std::string>& devices = {}) {
    const std::string cpr = absl::StrCat(directory_, "/", name, ".cpr");
    const std::string main = absl::StrCat(directory_, "/", name, ".main");
    std::vector<std::string> more = {"-incoming", "defer", "-incoming",
                                     IncomingCprChannel(cpr), "-S"};
    more.insert(more.end(), devices.begin(), devices.end());
    auto qemu = std::make_unique<Qemu>(directory_, name, Memfd(), more);
    absl::StatusOr<CprLoader> loader = CprLoader::Create();
    EXPECT_THAT(loader->Send(
                    cpr, saved.cpr_fds,
                    [&qemu](pid_t pid, uid_t) {
                      EXPECT_EQ(pid, qemu->pid());
                      return absl::OkStatus();
                    },
                    Soon()),
                IsOk());
    qemu->Connect();
    qemu->Do(absl::StrCat(
        R"({"execute":"migrate-incoming","arguments":{"uri":"unix:)", main,
        R"("}})"));
    absl::StatusOr<UniqueFd> socket = ConnectUnix(main);
    EXPECT_THAT(socket, IsOk());
    EXPECT_THAT(SendWithFd(socket->get(), saved.device_state, -1, "state",
                           nullptr, Soon()),
                IsOk());
    socket->Reset();
    qemu->WaitForStatus("paused");
    qemu->Do(R"({"execute":"cont"})");
    return qemu;
  }

  std::string directory_;
  CprSaveOptions options_;
};

// The guest's RAM, seen from outside.
class Counters {
 public:
  explicit Counters(int fd)
      : ram_(static_cast<char*>(
            mmap(nullptr, kRamBytes, PROT_READ, MAP_SHARED, fd, 0))) {
    EXPECT_NE(ram_, MAP_FAILED);
  }
  ~Counters() { munmap(ram_, kRamBytes); }

  uint32_t in_memory() const { return At(0x8000); }
  uint32_t in_register() const { return At(0x8004); }

  void WaitUntilBeyond(uint32_t count) const {
    const absl::Time deadline = Soon();
    while (in_register() <= count) {
      ASSERT_LT(absl::Now(), deadline) << "the guest does not count";
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

 private:
  uint32_t At(size_t address) const {
    return *reinterpret_cast<volatile uint32_t*>(ram_ + address);
  }
  char* const ram_;
};

const CprFd* FindRam(const SavedVm& saved) {
  for (const CprFd& fd : saved.cpr_fds) {
    if (fd.name == "pc.ram") return &fd;
  }
  return nullptr;
}

TEST_F(CprPeerQemuTest, CarriesAVmTwiceWithAllOfItsMemory) {
  auto qemu = std::make_unique<Qemu>(directory_, "a", Memfd());
  qemu->Connect();
  absl::SleepFor(absl::Seconds(2));  // SeaBIOS.
  for (int round = 0; round < 2; ++round) {
    absl::StatusOr<SavedVm> saved = PauseAndSave(*qemu);
    ASSERT_THAT(saved, IsOk());
    std::printf("%zu fds, %zu bytes of device state\n", saved->cpr_fds.size(),
                saved->device_state.size());
    for (const CprFd& fd : saved->cpr_fds) {
      std::printf("  %s %u\n", fd.name.c_str(), fd.id);
    }
    const CprFd* const ram = FindRam(*saved);
    ASSERT_NE(ram, nullptr);
    const Counters counters(ram->fd.get());
    const uint32_t count = counters.in_register();
    EXPECT_GT(count, 1000u);
    EXPECT_LE(counters.in_memory() - count, 1u);
    qemu.reset();  // As the kexec does.
    EXPECT_EQ(counters.in_register(), count);

    qemu = Load(absl::StrCat("b", round), *saved);
    counters.WaitUntilBeyond(count + 1000);
    qemu->Do(R"({"execute":"stop"})");
    EXPECT_LE(counters.in_memory() - counters.in_register(), 1u);
    qemu->Do(R"({"execute":"cont"})");
    EXPECT_THAT(qemu->qmp().AnnounceSelf(Soon()), IsOk());
  }
}

// Each list is what a VM may have; more than one list, for they share a bus.
TEST_F(CprPeerQemuTest, CarriesTheDevicesOfOrdinaryVms) {
  const std::vector<std::vector<std::string>> lists = {
      {"-usb",
       "-device",
       "usb-ehci",
       "-device",
       "usb-tablet",
       "-device",
       "virtio-balloon-pci",
       "-object",
       "rng-random,id=r,filename=/dev/urandom",
       "-device",
       "virtio-rng-pci,rng=r",
       "-netdev",
       "user,id=n",
       "-device",
       "virtio-net-pci,netdev=n",
       "-chardev",
       "pty,id=p",
       "-device",
       "isa-serial,chardev=p",
       "-object",
       "iothread,id=io",
       "-blockdev",
       "null-co,node-name=d",
       "-device",
       "virtio-blk-pci,drive=d,iothread=io"},
      {"-device",   "virtio-gpu-pci",
       "-device",   "virtio-scsi-pci",
       "-blockdev", "null-co,node-name=d",
       "-device",   "scsi-hd,drive=d",
       "-device",   "i6300esb",
       "-device",   "virtio-serial-pci",
       "-chardev",  "null,id=c",
       "-device",   "virtconsole,chardev=c",
       "-chardev",  "null,id=a",
       "-device",   "virtserialport,chardev=a,name=org.qemu.guest_agent.0"},
  };
  for (size_t i = 0; i < lists.size(); ++i) {
    auto qemu = std::make_unique<Qemu>(directory_, absl::StrCat("old", i),
                                       Memfd(), lists[i]);
    qemu->Connect();
    absl::SleepFor(absl::Seconds(5));  // SeaBIOS.
    ASSERT_OK_AND_ASSIGN(const SavedVm saved, PauseAndSave(*qemu));
    const Counters counters(FindRam(saved)->fd.get());
    const uint32_t count = counters.in_register();
    EXPECT_GT(count, 1000u);
    qemu.reset();
    qemu = Load(absl::StrCat("new", i), saved, lists[i]);
    counters.WaitUntilBeyond(count + 1000);
    qemu->Do(R"({"execute":"stop"})");
    EXPECT_LE(counters.in_memory() - counters.in_register(), 1u);
  }
}

TEST_F(CprPeerQemuTest, CarriesAFileUnderTheNameOfTheMemfd) {
  const std::string path = absl::StrCat(directory_, "/ram");
  auto qemu = std::make_unique<Qemu>(
      directory_, "a",
      absl::StrCat("memory-backend-file,id=pc.ram,size=64M,share=on,"
                   "x-use-canonical-path-for-ramblock-id=off,mem-path=",
                   path));
  qemu->Connect();
  absl::SleepFor(absl::Seconds(2));
  absl::StatusOr<SavedVm> saved = PauseAndSave(*qemu);
  ASSERT_THAT(saved, IsOk());
  EXPECT_EQ(FindRam(*saved), nullptr);  // A named file is not sent.
  CprFd ram;
  ram.name = "pc.ram";
  ram.fd = UniqueFd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const Counters counters(ram.fd.get());
  const uint32_t count = counters.in_register();
  EXPECT_GT(count, 1000u);
  saved->cpr_fds.push_back(std::move(ram));
  qemu.reset();
  qemu = Load("b", *saved);
  counters.WaitUntilBeyond(count + 1000);
  qemu->Do(R"({"execute":"stop"})");
  EXPECT_LE(counters.in_memory() - counters.in_register(), 1u);
  EXPECT_THAT(qemu->qmp().QueryRamBlocks(Soon()), IsOk());
}

TEST_F(CprPeerQemuTest, RunsOnAfterASaveAndCanBeSavedAgain) {
  Qemu qemu(directory_, "a", Memfd());
  qemu.Connect();
  absl::SleepFor(absl::Seconds(2));
  for (int round = 0; round < 3; ++round) {
    absl::StatusOr<SavedVm> saved = PauseAndSave(qemu);
    ASSERT_THAT(saved, IsOk());
    const Counters counters(FindRam(*saved)->fd.get());
    const uint32_t count = counters.in_register();
    ASSERT_THAT(qemu.qmp().EndMigration(Soon()), IsOk());
    qemu.Do(R"({"execute":"cont"})");
    counters.WaitUntilBeyond(count + 1000);
  }
}

TEST_F(CprPeerQemuTest, StaysPausedAfterASaveThatFailedAndCanBeSavedAgain) {
  Qemu qemu(directory_, "a", Memfd());
  qemu.Connect();
  absl::SleepFor(absl::Seconds(2));
  options_.check_peer = [](pid_t, uid_t) {
    return absl::PermissionDeniedError("refused by the test");
  };
  qemu.Do(R"({"execute":"stop"})");
  EXPECT_THAT(SaveOverCpr(qemu.channel(), options_, Soon()),
              StatusIs(absl::StatusCode::kPermissionDenied, _));
  EXPECT_EQ(qemu.qmp().QueryStatus(Soon()).value(), "paused");
  EXPECT_THAT(PauseAndSave(qemu), IsOk());
}

TEST_F(CprPeerQemuTest, TellsTheBackendsBlocksAndAddresses) {
  Qemu qemu(directory_, "a", Memfd());
  qemu.Connect();
  ASSERT_OK_AND_ASSIGN(const std::vector<MemoryBackend> backends,
                       qemu.qmp().QueryMemoryBackends(Soon()));
  ASSERT_EQ(backends.size(), 1u);
  EXPECT_EQ(backends[0].size_bytes, kRamBytes);
  EXPECT_TRUE(backends[0].shared);
  EXPECT_TRUE(qemu.qmp().GetBool("/machine", "aux-ram-share", Soon()).value());
  EXPECT_EQ(qemu.qmp().GetString("/objects/pc.ram", "type", Soon()).value(),
            "memory-backend-memfd");
  EXPECT_FALSE(qemu.qmp()
                   .GetBool("/objects/pc.ram",
                            "x-use-canonical-path-for-ramblock-id", Soon())
                   .value());
  ASSERT_OK_AND_ASSIGN(const std::vector<QemuRamBlock> blocks,
                       qemu.qmp().QueryRamBlocks(Soon()));
  EXPECT_THAT(blocks, Contains(Field(&QemuRamBlock::name, "pc.ram")));
  EXPECT_THAT(qemu.qmp().QueryBlockJobs(Soon()).value(), IsEmpty());
  EXPECT_THAT(qemu.qmp().QueryVersion(Soon()).value(), HasSubstr("."));
  ASSERT_THAT(qemu.qmp().SetMigrationMode(MigrationMode::kCprTransfer, Soon()),
              IsOk());
  ASSERT_OK_AND_ASSIGN(const MigrationInfo info,
                       qemu.qmp().QueryMigrate(Soon()));
  EXPECT_THAT(info.blocked_reasons, IsEmpty());
}

}  // namespace
}  // namespace live_update
