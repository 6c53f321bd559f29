#include "state_preserve/dax_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/memory_file.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::ContentsOf;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

constexpr char kWeb[] = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
constexpr char kDb[] = "0a0a0a0a-0000-4000-8000-00000000db01";
constexpr uint64_t kRamBytes = 1 << 20;
constexpr uint64_t kAreaBytes = 100000;

// A process that has `path` mapped, and no descriptor of it, until it goes.
class MappingProcess {
 public:
  explicit MappingProcess(const std::string& path) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    pid_ = fork();
    if (pid_ == 0) {
      const int fd = open(path.c_str(), O_RDWR);
      void* mapped =
          mmap(nullptr, kRamBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      close(fd);
      if (mapped == MAP_FAILED || write(ready[1], "r", 1) != 1) _exit(1);
      while (true) pause();
    }
    close(ready[1]);
    char byte;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
  }
  ~MappingProcess() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  MappingProcess(const MappingProcess&) = delete;
  MappingProcess& operator=(const MappingProcess&) = delete;

 private:
  pid_t pid_;
};

// Runs on the file system of the parameter, a directory for temporary files.
class DaxMemoryTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (access(GetParam().c_str(), W_OK) != 0) {
      GTEST_SKIP() << GetParam() << " is not writable here";
    }
    std::string pattern = absl::StrCat(GetParam(), "/dax_XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    mount_ = pattern;
    memory_ = Boot("boot-1");
  }
  void TearDown() override {
    memory_ = nullptr;
    if (!mount_.empty()) fs::remove_all(mount_);
  }

  // The same memory as another boot finds it.
  std::unique_ptr<DaxMemory> Boot(const std::string& boot_id) {
    absl::StatusOr<std::unique_ptr<DaxMemory>> memory = DaxMemory::Open(
        {.mount = mount_, .requires_dax = false, .boot_id = boot_id});
    EXPECT_THAT(memory, IsOk());
    return std::move(memory).value();
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(mount_, "/", name);
  }
  std::string StorePath(absl::string_view name) const {
    return Path(absl::StrCat("host-update/", name));
  }

  // A file as QEMU's memory backend makes it, open as QEMU has it.
  UniqueFd MakeGuestRam(const std::string& name, const std::string& contents) {
    UniqueFd fd(
        open(Path(name).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_EQ(ftruncate(fd.get(), kRamBytes), 0);
    EXPECT_EQ(pwrite(fd.get(), contents.data(), contents.size(), 0),
              contents.size());
    return fd;
  }

  // An update of one VM up to the kexec; leaves the guest's own file unnamed,
  // as libvirt does. Returns what the image would say of the block.
  PreservedRam HandOver(DaxMemory* memory, const std::string& update_id,
                        const std::string& uuid, const std::string& contents) {
    PreservedRam ram;
    const std::string name = absl::StrCat(update_id, "-", uuid);
    const UniqueFd fd = MakeGuestRam(name, contents);
    auto outgoing = memory->Begin(update_id);
    EXPECT_THAT(outgoing, IsOk());
    auto preserved = (*outgoing)->PreserveRam(uuid, "pc.ram", fd);
    EXPECT_THAT(preserved, IsOk());
    auto area = (*outgoing)->ReserveStateArea(kAreaBytes);
    EXPECT_THAT(area, IsOk());
    std::copy(update_id.begin(), update_id.end(), area->begin());
    EXPECT_THAT((*outgoing)->Flush(), IsOk());
    fs::remove(Path(name));
    return *preserved;
  }

  std::string mount_;
  std::unique_ptr<DaxMemory> memory_;
};

INSTANTIATE_TEST_SUITE_P(OnDisk, DaxMemoryTest,
                         ::testing::Values(::testing::TempDir()));
INSTANTIATE_TEST_SUITE_P(OnTmpfs, DaxMemoryTest, ::testing::Values("/dev/shm"));

TEST_P(DaxMemoryTest, CopiesStayUntilTheyAreRemoved) {
  EXPECT_THAT(memory_->Copies().value(), IsEmpty());
  EXPECT_THAT(memory_->RemoveCopy(kWeb), IsOk());
  EXPECT_THAT(memory_->CopyPath("../x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
  ASSERT_OK_AND_ASSIGN(const std::string path, memory_->CopyPath(kWeb));
  EXPECT_EQ(path, StorePath(absl::StrCat("copies/", kWeb)));
  std::ofstream(path) << "all of it";
  // Neither undoing the update nor another boot touches it.
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  EXPECT_THAT(outgoing->Unpreserve(), IsOk());
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  memory_ = Boot("boot-2");
  EXPECT_THAT(memory_->CollectGarbage(), IsOk());
  EXPECT_THAT(memory_->Copies().value(), ElementsAre(kWeb));
  EXPECT_THAT(memory_->RemoveCopy(kWeb), IsOk());
  EXPECT_THAT(memory_->Copies().value(), IsEmpty());
  EXPECT_FALSE(fs::exists(StorePath("copies")));
}

TEST_P(DaxMemoryTest, TheSameMemoryLivesThroughTwoUpdates) {
  const PreservedRam first = HandOver(memory_.get(), "u1", kWeb, "guest");

  auto second_boot = Boot("boot-2");
  ASSERT_OK_AND_ASSIGN(const bool has_handover, second_boot->HasHandover());
  EXPECT_TRUE(has_handover);
  ASSERT_OK_AND_ASSIGN(auto incoming, second_boot->Retrieve());
  EXPECT_EQ(incoming->update_id(), "u1");
  EXPECT_THAT(incoming->image(), SizeIs(kAreaBytes));
  EXPECT_EQ(incoming->image()[0], 'u');
  EXPECT_EQ(incoming->image()[2], 0);
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> uuids,
                       incoming->VmUuids());
  EXPECT_THAT(uuids, ElementsAre(kWeb));

  ASSERT_OK_AND_ASSIGN(const UniqueFd ram,
                       incoming->RetrieveRam(kWeb, "pc.ram", first));
  struct stat file {};
  ASSERT_EQ(fstat(ram.get(), &file), 0);
  EXPECT_EQ(file.st_ino, first.identity.inode);
  EXPECT_EQ(ContentsOf(ram, 5), "guest");
  EXPECT_THAT(incoming->Release(kWeb), IsOk());
  ASSERT_OK_AND_ASSIGN(const bool finished, incoming->FinishIfEmpty());
  EXPECT_TRUE(finished);

  // Its only name is ours now; it can be preserved again all the same.
  ASSERT_OK_AND_ASSIGN(auto outgoing, second_boot->Begin("u2"));
  ASSERT_OK_AND_ASSIGN(const PreservedRam second,
                       outgoing->PreserveRam(kWeb, "pc.ram", ram));
  EXPECT_EQ(second.identity, first.identity);
  ASSERT_THAT(outgoing->Flush(), IsOk());
  ASSERT_OK_AND_ASSIGN(auto again, Boot("boot-3")->Retrieve());
  ASSERT_OK_AND_ASSIGN(const UniqueFd last,
                       again->RetrieveRam(kWeb, "pc.ram", second));
  EXPECT_THAT(again->Release(kWeb), IsOk());
  EXPECT_EQ(ContentsOf(last, 5), "guest");
}

// --- Begin, Unpreserve, stale sets ---

TEST_P(DaxMemoryTest, RefusesASecondUpdateUntilTheFirstIsDiscarded) {
  ASSERT_THAT(memory_->Begin("u1"), IsOk());  // And the process is killed.
  EXPECT_THAT(memory_->Begin("u2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("this boot was cut off")));
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT(memory_->Begin("u2"), IsOk());
}

TEST_P(DaxMemoryTest, AHandoverOfAnotherBootIsNeverDiscardedAsStale) {
  HandOver(memory_.get(), "u1", kWeb, "guest");
  auto second_boot = Boot("boot-2");
  EXPECT_THAT(second_boot->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT(second_boot->Begin("u2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has not been retrieved")));
  EXPECT_THAT(second_boot->Retrieve(), IsOk());
}

TEST_P(DaxMemoryTest, TheOwnBootsSetIsNoHandover) {
  HandOver(memory_.get(), "u1", kWeb, "guest");
  ASSERT_OK_AND_ASSIGN(const bool has_handover, memory_->HasHandover());
  EXPECT_FALSE(has_handover);
  EXPECT_THAT(memory_->Retrieve(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
}

TEST_P(DaxMemoryTest, TheOwnBootsSetIsTakenOverByItsId) {
  const PreservedRam ram = HandOver(memory_.get(), "re-1", kWeb, "guest");
  EXPECT_THAT(memory_->RetrieveInThisBoot("re-2"),
              StatusIs(absl::StatusCode::kNotFound, _));
  auto incoming = memory_->RetrieveInThisBoot("re-1");
  ASSERT_THAT(incoming, IsOk());
  // It is not outgoing any more: nothing of it is stale.
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT((*incoming)->RetrieveRam(kWeb, "pc.ram", ram), IsOk());
  EXPECT_THAT(*memory_->Unfinished(), SizeIs(1));
  EXPECT_THAT(memory_->RetrieveInThisBoot("re-1"),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_P(DaxMemoryTest, AnotherBootsSetIsNotTakenOverByItsId) {
  HandOver(memory_.get(), "re-1", kWeb, "guest");
  EXPECT_THAT(Boot("boot-2")->RetrieveInThisBoot("re-1"),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_P(DaxMemoryTest, UnpreserveLeavesTheGuestsRamAlone) {
  const UniqueFd ram = MakeGuestRam("pc.ram", "guest");
  {
    ASSERT_OK_AND_ASSIGN(auto outgoing, memory_->Begin("u1"));
    ASSERT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram), IsOk());
    ASSERT_THAT(outgoing->ReserveStateArea(kAreaBytes), IsOk());
    EXPECT_THAT(outgoing->Unpreserve(), IsOk());
    EXPECT_THAT(outgoing->Unpreserve(), IsOk());
  }
  EXPECT_FALSE(fs::exists(StorePath("outgoing")));
  EXPECT_FALSE(fs::exists(StorePath("discarded")));
  EXPECT_EQ(fs::hard_link_count(Path("pc.ram")), 1);
  EXPECT_EQ(ContentsOf(ram, 5), "guest");
  EXPECT_THAT(memory_->Begin("u1"), IsOk());
}

TEST_P(DaxMemoryTest, UnpreserveDoesNotTouchALaterUpdate) {
  ASSERT_OK_AND_ASSIGN(auto first, memory_->Begin("u1"));
  ASSERT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  ASSERT_THAT(memory_->Begin("u2"), IsOk());
  EXPECT_THAT(first->Unpreserve(), IsOk());
  EXPECT_TRUE(fs::exists(StorePath("outgoing")));
}

TEST_P(DaxMemoryTest, RefusesAnUpdateIdThatIsNoSafeName) {
  EXPECT_THAT(
      memory_->Begin("../u1"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("safe name")));
}

TEST_P(DaxMemoryTest, RefusesAnUpdateIdThatIsNotFinished) {
  HandOver(memory_.get(), "u1", kWeb, "guest");
  auto second_boot = Boot("boot-2");
  ASSERT_THAT(second_boot->Retrieve(), IsOk());
  EXPECT_THAT(second_boot->Begin("u1"),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("u1 is not finished")));
}

// --- PreserveRam ---

class DaxMemoryPreserveTest : public DaxMemoryTest {
 protected:
  void SetUp() override {
    DaxMemoryTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_OK_AND_ASSIGN(outgoing_, memory_->Begin("u1"));
  }
  void TearDown() override {
    outgoing_ = nullptr;
    DaxMemoryTest::TearDown();
  }
  std::unique_ptr<OutgoingPreservation> outgoing_;
};

INSTANTIATE_TEST_SUITE_P(OnDisk, DaxMemoryPreserveTest,
                         ::testing::Values(::testing::TempDir()));
INSTANTIATE_TEST_SUITE_P(OnTmpfs, DaxMemoryPreserveTest,
                         ::testing::Values("/dev/shm"));

TEST_P(DaxMemoryPreserveTest, NamesABlockWhateverItIsCalled) {
  const UniqueFd fd = MakeGuestRam("f", "x");
  ASSERT_OK_AND_ASSIGN(
      const PreservedRam ram,
      outgoing_->PreserveRam(kWeb, "/rom@etc/acpi/tables", fd));
  EXPECT_EQ(ram.token, absl::StrCat(kWeb, "/%2From%40etc%2Facpi%2Ftables"));
  EXPECT_EQ(ram.identity.size_bytes, kRamBytes);
  EXPECT_EQ(fs::hard_link_count(Path("f")), 2);
}

TEST_P(DaxMemoryPreserveTest, RefusesTheSameBlockTwice) {
  const UniqueFd fd = MakeGuestRam("f", "x");
  ASSERT_THAT(outgoing_->PreserveRam(kWeb, "pc.ram", fd), IsOk());
  EXPECT_THAT(outgoing_->PreserveRam(kWeb, "pc.ram", fd),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("pc.ram")));
}

TEST_P(DaxMemoryPreserveTest, RefusesMemoryOfAnotherFileSystem) {
  const UniqueFd fd(memfd_create("ram", MFD_CLOEXEC));
  EXPECT_THAT(outgoing_->PreserveRam(kWeb, "pc.ram", fd),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("preserve pc.ram: not a file in")));
}

TEST_P(DaxMemoryPreserveTest, RefusesAFileThatLostItsName) {
  const UniqueFd fd = MakeGuestRam("f", "x");
  fs::remove(Path("f"));
  EXPECT_THAT(outgoing_->PreserveRam(kWeb, "pc.ram", fd),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no name any more")));
}

TEST_P(DaxMemoryPreserveTest, RefusesNamesThatAreNone) {
  const UniqueFd fd = MakeGuestRam("f", "x");
  for (const char* uuid : {"..", "", "c7a5fdbd"}) {
    EXPECT_THAT(
        outgoing_->PreserveRam(uuid, "pc.ram", fd),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
  }
  EXPECT_THAT(outgoing_->PreserveRam(kWeb, "", fd),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")));
}

// --- The state area ---

TEST_P(DaxMemoryPreserveTest, TheStateAreaIsZeroAndReallyAllocated) {
  ASSERT_OK_AND_ASSIGN(const absl::Span<uint8_t> area,
                       outgoing_->ReserveStateArea(kAreaBytes));
  ASSERT_THAT(area, SizeIs(kAreaBytes));
  EXPECT_THAT(area, Each(0));
  struct stat file {};
  ASSERT_EQ(stat(StorePath("outgoing/handover").c_str(), &file), 0);
  EXPECT_GE(static_cast<uint64_t>(file.st_blocks) * 512, kAreaBytes);
  EXPECT_EQ(file.st_mode & 07777, 0600);
}

TEST_P(DaxMemoryPreserveTest, IsReservedOnce) {
  ASSERT_THAT(outgoing_->ReserveStateArea(kAreaBytes), IsOk());
  EXPECT_THAT(outgoing_->ReserveStateArea(kAreaBytes),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("reserved already")));
}

TEST_P(DaxMemoryPreserveTest, SaysHowMuchIsMissing) {
  constexpr uint64_t kTooMuch = uint64_t{1} << 50;
  EXPECT_THAT(outgoing_->ReserveStateArea(kTooMuch),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("1125899906842624 bytes needed"),
                             HasSubstr("free"))));
  EXPECT_FALSE(fs::exists(StorePath("outgoing/handover")));
  EXPECT_THAT(outgoing_->ReserveStateArea(kAreaBytes), IsOk());
}

TEST_P(DaxMemoryPreserveTest, FlushWithoutAStateAreaIsFine) {
  EXPECT_THAT(outgoing_->Flush(), IsOk());
}

// --- Retrieve ---

TEST_P(DaxMemoryTest, StaysIncomingUntilItIsFinished) {
  HandOver(memory_.get(), "u1", kWeb, "guest");
  auto second_boot = Boot("boot-2");
  ASSERT_THAT(second_boot->Retrieve(), IsOk());  // And the process is killed.
  EXPECT_THAT(second_boot->Retrieve(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
  HandOver(second_boot.get(), "u2", kDb, "other");

  auto third_boot = Boot("boot-3");
  ASSERT_THAT(third_boot->Retrieve(), IsOk());
  ASSERT_OK_AND_ASSIGN(const auto unfinished, third_boot->Unfinished());
  ASSERT_THAT(unfinished, SizeIs(2));
  EXPECT_EQ(unfinished[0]->update_id(), "u2");
  EXPECT_EQ(unfinished[1]->update_id(), "u1");
  ASSERT_OK_AND_ASSIGN(const bool finished, unfinished[1]->FinishIfEmpty());
  EXPECT_FALSE(finished);
  EXPECT_THAT(unfinished[1]->Release(kWeb), IsOk());
  ASSERT_OK_AND_ASSIGN(const bool finished_now, unfinished[1]->FinishIfEmpty());
  EXPECT_TRUE(finished_now);
  ASSERT_OK_AND_ASSIGN(const auto rest, third_boot->Unfinished());
  EXPECT_THAT(rest, SizeIs(1));
}

TEST_P(DaxMemoryTest, AnUpdateCutOffBeforeItsImageIsRetrievedWithoutOne) {
  {
    const UniqueFd fd = MakeGuestRam("f", "x");
    ASSERT_OK_AND_ASSIGN(auto outgoing, memory_->Begin("u1"));
    ASSERT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", fd), IsOk());
  }
  ASSERT_OK_AND_ASSIGN(auto incoming, Boot("boot-2")->Retrieve());
  EXPECT_THAT(incoming->image(), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> uuids,
                       incoming->VmUuids());
  EXPECT_THAT(uuids, ElementsAre(kWeb));
}

TEST_P(DaxMemoryTest, ADamagedSetIsReportedNotRemoved) {
  HandOver(memory_.get(), "u1", kWeb, "guest");
  fs::remove(StorePath("outgoing/boot_id"));
  auto second_boot = Boot("boot-2");
  EXPECT_THAT(second_boot->HasHandover(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("boot_id")));
  EXPECT_THAT(second_boot->DiscardStaleOutgoing(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("boot_id")));
  EXPECT_TRUE(fs::exists(StorePath("outgoing/ram")));
}

class DaxMemoryIncomingTest : public DaxMemoryTest {
 protected:
  void SetUp() override {
    DaxMemoryTest::SetUp();
    if (IsSkipped()) return;
    ram_ = HandOver(memory_.get(), "u1", kWeb, "guest");
    memory_ = Boot("boot-2");
    ASSERT_OK_AND_ASSIGN(incoming_, memory_->Retrieve());
  }
  void TearDown() override {
    incoming_ = nullptr;
    DaxMemoryTest::TearDown();
  }
  std::string IncomingPath() const {
    return StorePath(absl::StrCat("incoming/u1/ram/", kWeb, "/pc.ram"));
  }
  std::string RunningPath() const {
    return StorePath(absl::StrCat("running/", kWeb, "/pc.ram"));
  }
  uint64_t CollectGarbage() {
    absl::StatusOr<uint64_t> freed = memory_->CollectGarbage();
    EXPECT_THAT(freed, IsOk());
    return freed.value_or(0);
  }

  PreservedRam ram_;
  std::unique_ptr<IncomingPreservation> incoming_;
};

INSTANTIATE_TEST_SUITE_P(OnDisk, DaxMemoryIncomingTest,
                         ::testing::Values(::testing::TempDir()));
INSTANTIATE_TEST_SUITE_P(OnTmpfs, DaxMemoryIncomingTest,
                         ::testing::Values("/dev/shm"));

TEST_P(DaxMemoryIncomingTest, RefusesRamThatIsGone) {
  fs::remove(IncomingPath());
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("it is gone")));
  EXPECT_THAT(
      incoming_->RetrieveRam(
          kDb, "pc.ram",
          {.token = absl::StrCat(kDb, "/pc.ram"), .identity = {}}),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("nothing of this VM")));
}

TEST_P(DaxMemoryIncomingTest, RefusesRamThatIsAnotherFile) {
  const UniqueFd other = MakeGuestRam("other", "guest");
  fs::rename(Path("other"), IncomingPath());
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("is not the preserved one")));
}

TEST_P(DaxMemoryIncomingTest, RefusesRamOfAnotherSize) {
  ASSERT_EQ(truncate(IncomingPath().c_str(), kRamBytes - 1), 0);
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("is not the preserved one")));
}

TEST_P(DaxMemoryIncomingTest, RefusesALink) {
  fs::rename(IncomingPath(), Path("moved"));
  fs::create_symlink(Path("moved"), IncomingPath());
  EXPECT_FALSE(incoming_->RetrieveRam(kWeb, "pc.ram", ram_).ok());
}

TEST_P(DaxMemoryIncomingTest, RefusesATokenOfAnotherBlock) {
  ram_.token = absl::StrCat(kDb, "/pc.ram");
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("token")));
}

// The next kernel may number its block devices otherwise.
TEST_P(DaxMemoryIncomingTest, ADeviceNumberOfTheLastKernelMeansNothing) {
  ram_.identity.device = 12345;
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_), IsOk());
}

TEST_P(DaxMemoryIncomingTest, ReleaseReplacesNamesOfAnUpdateBefore) {
  fs::create_directories(fs::path(RunningPath()).parent_path());
  fs::create_hard_link(IncomingPath(), RunningPath());
  const UniqueFd old = MakeGuestRam("old", "x");
  fs::rename(Path("old"), absl::StrCat(RunningPath(), "-unplugged"));
  EXPECT_THAT(incoming_->Release(kWeb), IsOk());
  EXPECT_THAT(incoming_->Release(kWeb), IsOk());
  EXPECT_TRUE(fs::exists(RunningPath()));
  EXPECT_EQ(fs::hard_link_count(RunningPath()), 1);
  EXPECT_FALSE(fs::exists(absl::StrCat(RunningPath(), "-unplugged")));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> uuids,
                       incoming_->VmUuids());
  EXPECT_THAT(uuids, IsEmpty());
}

TEST_P(DaxMemoryIncomingTest, ThatAVmWasLetRunIsKnownInLaterBoots) {
  EXPECT_EQ(incoming_->FindResumeMark(kWeb).value(), std::nullopt);
  EXPECT_THAT(incoming_->MarkResumed(kWeb, "6.1.0-57"), IsOk());
  EXPECT_THAT(incoming_->MarkResumed(kWeb, "6.1.0-57"), IsOk());
  ASSERT_OK_AND_ASSIGN(auto mark, incoming_->FindResumeMark(kWeb));
  ASSERT_TRUE(mark.has_value());
  EXPECT_TRUE(mark->in_this_boot);
  EXPECT_THAT(incoming_->Release(kWeb), IsOk());

  memory_ = Boot("boot-3");
  ASSERT_OK_AND_ASSIGN(const auto sets, memory_->Unfinished());
  ASSERT_THAT(sets, SizeIs(1));
  ASSERT_OK_AND_ASSIGN(mark, sets[0]->FindResumeMark(kWeb));
  ASSERT_TRUE(mark.has_value());
  EXPECT_FALSE(mark->in_this_boot);
  EXPECT_EQ(mark->kernel, "6.1.0-57");
  EXPECT_EQ(sets[0]->FindResumeMark(kDb).value(), std::nullopt);
  // It goes with the set.
  EXPECT_THAT(sets[0]->FinishIfEmpty(), IsOk());
  EXPECT_FALSE(fs::exists(StorePath("incoming/u1")));
}

TEST_P(DaxMemoryIncomingTest, AMarkIsTakenBack) {
  EXPECT_THAT(incoming_->UnmarkResumed(kWeb), IsOk());
  EXPECT_THAT(incoming_->MarkResumed(kWeb, "6.1.0-57"), IsOk());
  EXPECT_THAT(incoming_->UnmarkResumed(kWeb), IsOk());
  EXPECT_EQ(incoming_->FindResumeMark(kWeb).value(), std::nullopt);
}

// Its name counts: its contents may not have come to the medium, or be
// anything.
TEST_P(DaxMemoryIncomingTest, AMarkHoldsWhateverIsInIt) {
  fs::create_directories(StorePath("incoming/u1/resumed"));
  const std::string path =
      StorePath(absl::StrCat("incoming/u1/resumed/", kWeb));
  for (const std::string& contents :
       {std::string(), std::string("boot-2"), std::string(5000, ' '),
        std::string("boot-2 \n\x1b[2J")}) {
    std::ofstream(path) << contents;
    ASSERT_OK_AND_ASSIGN(const auto mark, incoming_->FindResumeMark(kWeb));
    ASSERT_TRUE(mark.has_value()) << contents.substr(0, 20);
    EXPECT_EQ(mark->kernel, "that is not known");
  }
  fs::remove(path);
  fs::create_symlink("/dev/null", path);
  EXPECT_TRUE(incoming_->FindResumeMark(kWeb).value().has_value());
  EXPECT_FALSE(incoming_->MarkResumed(kWeb, "6.1.0-57").ok());
}

TEST_P(DaxMemoryIncomingTest, DiscardFreesTheMemoryUnderAllItsNames) {
  fs::create_directories(fs::path(RunningPath()).parent_path());
  fs::create_hard_link(IncomingPath(), RunningPath());
  EXPECT_THAT(incoming_->Discard(kWeb), IsOk());
  EXPECT_THAT(incoming_->Discard(kWeb), IsOk());
  EXPECT_FALSE(fs::exists(IncomingPath()));
  EXPECT_FALSE(fs::exists(RunningPath()));
  ASSERT_OK_AND_ASSIGN(const bool finished, incoming_->FinishIfEmpty());
  EXPECT_TRUE(finished);
  // The image's mapping outlives its file; there is nothing in it any more.
  EXPECT_EQ(incoming_->image()[0], 0);
}

TEST_P(DaxMemoryIncomingTest, RefusesUuidsThatAreNone) {
  for (const char* uuid : {"..", "", "../../running"}) {
    EXPECT_THAT(
        incoming_->Release(uuid),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
    EXPECT_THAT(
        incoming_->Discard(uuid),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
    EXPECT_THAT(
        incoming_->RetrieveRam(uuid, "pc.ram", ram_),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
  }
}

// --- Garbage ---

TEST_P(DaxMemoryIncomingTest, RamOfARunningVmIsNoGarbage) {
  ASSERT_THAT(incoming_->Release(kWeb), IsOk());
  {
    const UniqueFd user(open(RunningPath().c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_EQ(CollectGarbage(), 0);
  }
  {
    const UniqueFd user(open(RunningPath().c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(CollectGarbage(), 0);
  }
  EXPECT_TRUE(fs::exists(RunningPath()));
}

TEST_P(DaxMemoryIncomingTest, RamMappedByAnotherProcessIsNoGarbageTillItGoes) {
  ASSERT_THAT(incoming_->Release(kWeb), IsOk());
  {
    const MappingProcess qemu(RunningPath());
    EXPECT_EQ(CollectGarbage(), 0);
    EXPECT_TRUE(fs::exists(RunningPath()));
  }
  EXPECT_GT(CollectGarbage(), 0);
  EXPECT_FALSE(fs::exists(fs::path(RunningPath()).parent_path()));
}

TEST_P(DaxMemoryIncomingTest, MemoryThatASetProtectsIsNotFreed) {
  fs::create_directories(fs::path(RunningPath()).parent_path());
  fs::create_hard_link(IncomingPath(), RunningPath());
  EXPECT_EQ(CollectGarbage(), 0);
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_), IsOk());
}

// --- Cut off in the middle ---

TEST_P(DaxMemoryTest, BeginCutOffBeforeItsRenameLeavesNoUpdate) {
  fs::create_directories(StorePath("outgoing.new/ram"));
  ASSERT_OK_AND_ASSIGN(const bool has_handover, memory_->HasHandover());
  EXPECT_FALSE(has_handover);
  EXPECT_THAT(memory_->Begin("u1"), IsOk());
}

TEST_P(DaxMemoryTest, UnpreserveCutOffAfterItsRenameIsFinishedLater) {
  fs::create_directories(StorePath(absl::StrCat("discarded/ram/", kWeb)));
  MakeGuestRam(absl::StrCat("host-update/discarded/ram/", kWeb, "/pc.ram"),
               "x");
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_FALSE(fs::exists(StorePath("discarded")));
}

TEST_P(DaxMemoryIncomingTest, ReleaseCutOffBeforeItsRenameCanBeDoneAgain) {
  // It had removed the old names and not moved the new ones.
  fs::create_directories(fs::path(RunningPath()).parent_path());
  EXPECT_THAT(incoming_->RetrieveRam(kWeb, "pc.ram", ram_), IsOk());
  EXPECT_THAT(incoming_->Release(kWeb), IsOk());
  EXPECT_TRUE(fs::exists(RunningPath()));
}

TEST_P(DaxMemoryIncomingTest, FinishCutOffIsFinishedLater) {
  ASSERT_THAT(incoming_->Release(kWeb), IsOk());
  fs::remove(StorePath("incoming/u1/ram"));
  ASSERT_OK_AND_ASSIGN(const auto unfinished, memory_->Unfinished());
  EXPECT_THAT(unfinished, IsEmpty());
  EXPECT_FALSE(fs::exists(StorePath("incoming/u1")));
}

TEST_P(DaxMemoryIncomingTest, ASetThatCannotBeOpenedDoesNotHideTheOthers) {
  fs::create_directories(StorePath("incoming/u0"));
  fs::create_symlink("/", StorePath("incoming/u0/ram"));
  ASSERT_OK_AND_ASSIGN(const auto unfinished, memory_->Unfinished());
  ASSERT_THAT(unfinished, SizeIs(1));
  EXPECT_EQ(unfinished[0]->update_id(), "u1");
  EXPECT_TRUE(fs::exists(StorePath("incoming/u0")));
}

// --- Open ---

// Looks at a file when its name is gone, without being a user of it before.
class Bystander {
 public:
  explicit Bystander(const std::string& path)
      : fd_(open(path.c_str(), O_PATH | O_CLOEXEC)) {
    EXPECT_TRUE(fd_.ok()) << path;
  }
  std::string Contents() const {
    return ReadFile(absl::StrCat("/proc/self/fd/", fd_.get()), 4 << 20)
        .value_or("can't be read");
  }

 private:
  const UniqueFd fd_;
};

TEST_P(DaxMemoryTest, ADiscardedVmsMemoryIsOverwritten) {
  (void)HandOver(memory_.get(), "u1", kWeb, "a guest's secret");
  ASSERT_OK_AND_ASSIGN(const auto incoming, Boot("boot-2")->Retrieve());
  const Bystander ram(
      StorePath(absl::StrCat("incoming/u1/ram/", kWeb, "/pc.ram")));
  EXPECT_THAT(ram.Contents(), HasSubstr("a guest's secret"));
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_EQ(ram.Contents(), std::string(kRamBytes, 0));
}

TEST_P(DaxMemoryTest, SoItIsUnderTheNameOfAnUpdateBefore) {
  const PreservedRam first = HandOver(memory_.get(), "u1", kWeb, "secret");
  auto second_boot = Boot("boot-2");
  ASSERT_OK_AND_ASSIGN(const auto restored, second_boot->Retrieve());
  {
    ASSERT_OK_AND_ASSIGN(const UniqueFd ram,
                         restored->RetrieveRam(kWeb, "pc.ram", first));
    EXPECT_THAT(restored->Release(kWeb), IsOk());
    ASSERT_OK_AND_ASSIGN(const auto outgoing, second_boot->Begin("u2"));
    EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram), IsOk());
  }
  ASSERT_OK_AND_ASSIGN(const auto incoming, Boot("boot-3")->Retrieve());
  const Bystander ram(StorePath(absl::StrCat("running/", kWeb, "/pc.ram")));
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_EQ(ram.Contents(), std::string(kRamBytes, 0));
}

TEST_P(DaxMemoryTest, AnUpdateTakenBackOverwritesItsImageAndNoGuestsRam) {
  const UniqueFd guest = MakeGuestRam("web", "the guest runs on");
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", guest), IsOk());
  ASSERT_OK_AND_ASSIGN(const absl::Span<uint8_t> area,
                       outgoing->ReserveStateArea(kAreaBytes));
  area[kAreaBytes - 1] = 's';
  const Bystander image(StorePath("outgoing/handover"));
  // Mapped by this very process still.
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_EQ(image.Contents(), std::string(kAreaBytes, 0));
  EXPECT_EQ(ContentsOf(guest, 17), "the guest runs on");
}

TEST_P(DaxMemoryTest, AFinishedUpdateOverwritesItsImage) {
  (void)HandOver(memory_.get(), "u1", kWeb, "guest");
  ASSERT_OK_AND_ASSIGN(const auto incoming, Boot("boot-2")->Retrieve());
  const Bystander image(StorePath("incoming/u1/handover"));
  EXPECT_THAT(image.Contents(), HasSubstr("u1"));
  EXPECT_THAT(incoming->Release(kWeb), IsOk());
  ASSERT_OK_AND_ASSIGN(const bool finished, incoming->FinishIfEmpty());
  EXPECT_TRUE(finished);
  EXPECT_EQ(image.Contents(), std::string(kAreaBytes, 0));
}

TEST_P(DaxMemoryTest, ARemovedCopyIsOverwritten) {
  ASSERT_OK_AND_ASSIGN(const std::string path, memory_->CopyPath(kWeb));
  std::ofstream(path) << "all of it";
  const Bystander copy(path);
  EXPECT_THAT(memory_->RemoveCopy(kWeb), IsOk());
  EXPECT_EQ(copy.Contents(), std::string(9, 0));
}

TEST_P(DaxMemoryTest, RefusesMemoryThatDoesNotOutliveTheKernel) {
  EXPECT_THAT(DaxMemory::Open({.mount = mount_, .boot_id = "boot-1"}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("page cache"), HasSubstr("memmap="),
                             HasSubstr("-o dax=always"))));
}

TEST_P(DaxMemoryTest, RefusesAStoreThatOthersMayWriteTo) {
  ASSERT_EQ(chmod(StorePath("").c_str(), 0770), 0);
  EXPECT_THAT(
      DaxMemory::Open({.mount = mount_, .requires_dax = false}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("mode 0700")));
}

TEST_P(DaxMemoryTest, RefusesAMountThatIsNotThere) {
  EXPECT_THAT(DaxMemory::Open({.mount = Path("none"), .requires_dax = false}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

TEST_P(DaxMemoryTest, KnowsThisBootAndTheRoomLeft) {
  ASSERT_OK_AND_ASSIGN(
      const auto memory,
      DaxMemory::Open({.mount = mount_, .requires_dax = false}));
  EXPECT_EQ(memory->backend(), "directory");
  ASSERT_THAT(memory->Begin("u1"), IsOk());
  ASSERT_OK_AND_ASSIGN(const bool has_handover, memory->HasHandover());
  EXPECT_FALSE(has_handover);
  ASSERT_OK_AND_ASSIGN(const uint64_t free_bytes, memory->FreeBytes());
  EXPECT_GT(free_bytes, 0);
}

}  // namespace
}  // namespace live_update
