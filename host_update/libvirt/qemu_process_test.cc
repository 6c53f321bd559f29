#include "host_update/libvirt/qemu_process.h"

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
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/qemu/fake_qemu.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr size_t kBytes = size_t{1} << 20;
const VmRef kVm = {.name = "web-1",
                   .uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"};

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

// Shared memory of a file without a name, mapped here.
class Mapped {
 public:
  Mapped() : fd_(memfd_create("ram", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_.get(), kBytes), 0);
    address_ =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  }
  ~Mapped() { munmap(address_, kBytes); }
  const char* bytes() const { return static_cast<char*>(address_); }
  uint64_t address() const { return reinterpret_cast<uintptr_t>(address_); }
  ino_t inode() const { return Inode(fd_); }

  static ino_t Inode(const UniqueFd& fd) {
    struct stat info {};
    EXPECT_EQ(fstat(fd.get(), &info), 0);
    return info.st_ino;
  }

 private:
  UniqueFd fd_;
  void* address_ = nullptr;
};

// map_files is for those who may checkpoint any process.
bool MayOpenMapFiles(const Mapped& mapped) {
  return !absl::IsPermissionDenied(
      OpenMappedFile(getpid(), mapped.address(), kBytes).status());
}

TEST(OpenMappedFileTest, FindsTheFileOfAnAddressAmongEqualOnes) {
  const Mapped first;
  const Mapped second;
  if (!MayOpenMapFiles(first)) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  ASSERT_OK_AND_ASSIGN(const UniqueFd fd,
                       OpenMappedFile(getpid(), second.address(), kBytes));
  EXPECT_EQ(Mapped::Inode(fd), second.inode());
  EXPECT_EQ(pwrite(fd.get(), "x", 1, 0), 1);
  EXPECT_EQ(*second.bytes(), 'x');
}

TEST(OpenMappedFileTest, RefusesAFileThatIsTooShort) {
  const Mapped mapped;
  if (!MayOpenMapFiles(mapped)) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  EXPECT_THAT(OpenMappedFile(getpid(), mapped.address(), 2 * kBytes),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("its file has 1048576 bytes, not 2097152")));
}

TEST(OpenMappedFileTest, RefusesPrivateMemory) {
  const Mapped mapped;
  if (!MayOpenMapFiles(mapped)) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_THAT(
      OpenMappedFile(getpid(), reinterpret_cast<uintptr_t>(memory), kBytes),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("private")));
  munmap(memory, kBytes);
  EXPECT_THAT(
      OpenMappedFile(getpid(), 0x10, kBytes),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("mapped at 0x10")));
}

class FindGuestRamTest : public ::testing::Test {
 protected:
  void Answer(const std::string& share, uint64_t address,
              const std::string& canonical) {
    qemu_.Answer("query-memdev",
                 absl::StrCat(R"({"return":[{"id":"ram-node0","size":)", kBytes,
                              R"(,"share":)", share, "}]}"));
    qemu_.Answer("qom-get", absl::StrCat(R"({"return":)", canonical, "}"));
    qemu_.Answer(
        "x-query-ramblock",
        absl::StrFormat(
            R"({"return":{"human-readable-text":"Block Name\n%s 4 KiB 0x0 )"
            R"(0x100000 0x100000 %#x rw\n"}})",
            canonical == "true" ? "/objects/ram-node0" : "ram-node0", address));
  }

  FakeQemu qemu_;
  Qmp qmp_{&qemu_};
  std::vector<std::string> problems_;
};

TEST_F(FindGuestRamTest, OpensSharedMemoryUnderItsBlocksName) {
  const Mapped mapped;
  if (!MayOpenMapFiles(mapped)) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  const volatile char* const touched = mapped.bytes();
  const char zero = *touched;
  EXPECT_EQ(zero, 0);
  for (const std::string canonical : {"true", "false"}) {
    Answer("true", mapped.address(), canonical);
    ASSERT_OK_AND_ASSIGN(const std::vector<GuestRam> ram,
                         FindGuestRam(qmp_, getpid(), problems_, Soon()));
    ASSERT_THAT(ram, SizeIs(1));
    EXPECT_EQ(ram[0].name,
              canonical == "true" ? "/objects/ram-node0" : "ram-node0");
    EXPECT_TRUE(ram[0].shared);
    EXPECT_EQ(Mapped::Inode(ram[0].fd), mapped.inode());
    ASSERT_TRUE(ram[0].pages.has_value());
    EXPECT_EQ(ram[0].pages->resident_bytes, 4096);
    EXPECT_EQ(ram[0].pages->huge_bytes, 0);
  }
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(FindGuestRamTest, ListsPrivateMemoryWithoutAFile) {
  Answer("false", 0, "false");
  ASSERT_OK_AND_ASSIGN(const std::vector<GuestRam> ram,
                       FindGuestRam(qmp_, getpid(), problems_, Soon()));
  ASSERT_THAT(ram, SizeIs(1));
  EXPECT_FALSE(ram[0].shared);
  EXPECT_FALSE(ram[0].fd.ok());
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(FindGuestRamTest, SaysWhichSharedMemoryItCannotFind) {
  Answer("true", 0, "false");
  ASSERT_OK_AND_ASSIGN(const std::vector<GuestRam> ram,
                       FindGuestRam(qmp_, getpid(), problems_, Soon()));
  EXPECT_FALSE(ram[0].fd.ok());
  EXPECT_THAT(problems_,
              ElementsAre(HasSubstr("RAM block ram-node0 can't be found")));
}

class FindQemuProcessTest : public ::testing::Test {
 protected:
  FindQemuProcessTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/pidXXXXXX");
    directory_ = mkdtemp(name.data());
  }
  ~FindQemuProcessTest() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  // Something that sleeps and has `uuid` on its command line as QEMU has.
  void StartWith(const std::string& uuid) {
    std::vector<std::string> words = {"sh",   "-c",    "sleep 100; true",
                                      "qemu", "-uuid", uuid};
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ASSERT_EQ(
        posix_spawn(&pid_, "/bin/sh", nullptr, nullptr, argv.data(), environ),
        0);
    // The parent is let go before the new command line can be read.
    const std::string path = absl::StrCat("/proc/", pid_, "/cmdline");
    for (const absl::Time end = Soon(); absl::Now() < end;) {
      std::string words_now;
      std::getline(std::ifstream(path), words_now);
      if (absl::StrContains(words_now, uuid)) break;
      absl::SleepFor(absl::Milliseconds(1));
    }
    WritePid(absl::StrCat(pid_));
  }
  void WritePid(const std::string& text) {
    std::ofstream(absl::StrCat(directory_, "/web-1.pid")) << text;
  }

  std::string directory_;
  pid_t pid_ = -1;
};

TEST_F(FindQemuProcessTest, FindsItWithItsUser) {
  StartWith(kVm.uuid);
  ASSERT_OK_AND_ASSIGN(const QemuProcess process,
                       FindQemuProcess(kVm, directory_));
  EXPECT_EQ(process.pid, pid_);
  EXPECT_EQ(process.uid, geteuid());
  EXPECT_EQ(process.gid, getegid());
}

TEST_F(FindQemuProcessTest, DoesNotBelieveAFileOfAnotherProcess) {
  StartWith("00000000-0000-0000-0000-000000000001");
  EXPECT_THAT(FindQemuProcess(kVm, directory_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("is not it")));
}

TEST_F(FindQemuProcessTest, RefusesWhatIsNoPid) {
  EXPECT_THAT(FindQemuProcess(kVm, directory_),
              StatusIs(absl::StatusCode::kNotFound, _));
  for (const char* text : {"", "x", "-1", "0", "99999999999"}) {
    WritePid(text);
    EXPECT_THAT(FindQemuProcess(kVm, directory_),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("no pid")))
        << text;
  }
}

}  // namespace
}  // namespace live_update
