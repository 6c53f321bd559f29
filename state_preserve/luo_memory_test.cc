#include "state_preserve/luo_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/keeper_client.h"
#include "state_preserve/luo_fake_kernel.h"
#include "testing/memory_file.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::ContentsOf;
using ::live_update::testing::InodeOf;
using ::live_update::testing::IsOk;
using ::live_update::testing::MakeMemfd;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

constexpr char kWeb[] = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
constexpr char kDb[] = "0a0a0a0a-0000-4000-8000-00000000db01";
constexpr char kWebSession[] = "hu-vm-c7a5fdbd-edaf-9455-926a-d65c16db1809";
constexpr uint64_t kRamBytes = 1 << 20;
constexpr uint64_t kAreaBytes = 100000;

// A host with a fake kernel; the keepers are real processes. What a program
// that dies leaves is what is left when its LuoMemory and all that it gave out
// are gone.
class LuoMemoryTest : public ::testing::Test {
 protected:
  LuoMemoryTest() {
    std::string pattern = "/tmp/luo_XXXXXX";  // Bazel's is too long a name.
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    memory_ = Open();
  }
  ~LuoMemoryTest() override {
    KillKeeper();
    fs::remove_all(dir_);
  }

  std::string run_dir() const { return absl::StrCat(dir_, "/run-", boot_); }
  KeeperClient Keeper() const {
    return KeeperClient(absl::StrCat(run_dir(), "/keeper.sock"));
  }
  void KillKeeper() const {
    const auto pid = Keeper().Pid();
    if (pid.ok()) kill(*pid, SIGKILL);
    // The kernel closes its descriptors before it is gone.
    while (pid.ok() && Keeper().Pid().ok()) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  std::unique_ptr<LuoMemory> Open() {
    auto memory = LuoMemory::Open({.run_dir = run_dir(),
                                   .boot_id = absl::StrCat("boot-", boot_),
                                   .busy_wait = absl::Milliseconds(100),
                                   .kernel = &kernel_});
    EXPECT_THAT(memory, IsOk());
    return *std::move(memory);
  }

  // Another run of the program.
  void Restart() {
    memory_ = nullptr;
    memory_ = Open();
  }

  // Everything of the old kernel goes, but what it hands over.
  void Kexec() {
    kernel_.Kexec();
    memory_ = nullptr;
    KillKeeper();
    ++boot_;
    memory_ = Open();
  }

  // An update of `uuids` up to the kexec. `ram_` is what the image would say,
  // one block a VM.
  void HandOver(const std::string& update_id,
                const std::vector<std::string>& uuids) {
    ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin(update_id));
    ASSERT_OK_AND_ASSIGN(const absl::Span<uint8_t> area,
                         outgoing->ReserveStateArea(kAreaBytes));
    ram_.clear();
    for (const std::string& uuid : uuids) {
      const UniqueFd fd = MakeMemfd(uuid, kRamBytes);
      ASSERT_OK_AND_ASSIGN(const PreservedRam ram,
                           outgoing->PreserveRam(uuid, "pc.ram", fd));
      ram_.push_back(ram);
    }
    ASSERT_THAT(outgoing->Flush(), IsOk());
    std::copy(update_id.begin(), update_id.end(), area.begin());
    ASSERT_THAT(outgoing->Flush(), IsOk());
    Kexec();
  }

  bool HasHandover() {
    const auto has_handover = memory_->HasHandover();
    EXPECT_THAT(has_handover, IsOk());
    return has_handover.value_or(false);
  }

  // The one set that is not finished; null if there is none.
  std::unique_ptr<IncomingPreservation> Unfinished() {
    auto sets = memory_->Unfinished();
    EXPECT_THAT(sets, IsOk());
    EXPECT_LE(sets->size(), 1);
    if (sets->empty()) return nullptr;
    return std::move(sets->front());
  }

  LuoFakeKernel kernel_;
  std::string dir_;
  int boot_ = 1;
  std::unique_ptr<LuoMemory> memory_;
  std::vector<PreservedRam> ram_;
};

TEST_F(LuoMemoryTest, TheSameMemoryLivesThroughTwoUpdates) {
  HandOver("u1", {kWeb});
  EXPECT_TRUE(HasHandover());
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  EXPECT_EQ(incoming->update_id(), "u1");
  EXPECT_THAT(incoming->image(), SizeIs(kAreaBytes));
  EXPECT_EQ(incoming->image()[0], 'u');
  EXPECT_EQ(incoming->image()[2], 0);
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kWeb));

  ASSERT_OK_AND_ASSIGN(const UniqueFd ram,
                       incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]));
  EXPECT_EQ(ContentsOf(ram, 36), kWeb);
  // As restore_vm.cc proves that QEMU uses it.
  ASSERT_OK_AND_ASSIGN(const UniqueFd again,
                       incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]));
  EXPECT_EQ(InodeOf(ram), InodeOf(again));
  EXPECT_THAT(incoming->Release(kWeb), IsOk());
  EXPECT_THAT(incoming->Release(kWeb), IsOk());
  EXPECT_THAT(incoming->VmUuids().value(), IsEmpty());
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
  EXPECT_EQ(incoming->image()[0], 'u');  // As long as `incoming` lives.
  EXPECT_EQ(kernel_.FileCount(), 0);
  EXPECT_THAT(Keeper().List().value(), IsEmpty());
  EXPECT_FALSE(HasHandover());
  EXPECT_EQ(Unfinished(), nullptr);

  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u2"));
  ASSERT_OK_AND_ASSIGN(const PreservedRam second,
                       outgoing->PreserveRam(kWeb, "pc.ram", ram));
  Kexec();
  ASSERT_OK_AND_ASSIGN(const auto next, memory_->Retrieve());
  EXPECT_EQ(next->update_id(), "u2");
  EXPECT_THAT(next->image(),
              IsEmpty());  // It was cut off before there was one.
  ASSERT_OK_AND_ASSIGN(const UniqueFd last,
                       next->RetrieveRam(kWeb, "pc.ram", second));
  EXPECT_EQ(ContentsOf(last, 36), kWeb);
}

// --- Old kernel ---

TEST_F(LuoMemoryTest, TheGuestsLastWritesAreCarried) {
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  const UniqueFd fd = MakeMemfd("before", kRamBytes);
  ASSERT_OK_AND_ASSIGN(const PreservedRam ram,
                       outgoing->PreserveRam(kWeb, "pc.ram", fd));
  ASSERT_EQ(pwrite(fd.get(), "after!", 6, 0), 6);
  Kexec();
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  ASSERT_OK_AND_ASSIGN(const UniqueFd carried,
                       incoming->RetrieveRam(kWeb, "pc.ram", ram));
  EXPECT_EQ(ContentsOf(carried, 6), "after!");
}

TEST_F(LuoMemoryTest, AnUpdateThatFailsIsTakenBackByDiscard) {
  {
    ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
    ASSERT_THAT(
        outgoing->PreserveRam(kWeb, "pc.ram", MakeMemfd("guest", kRamBytes)),
        IsOk());
  }
  // What Begin() gave is gone; the process may be about to jump.
  EXPECT_THAT(kernel_.Outgoing(), ElementsAre("hu-handover", kWebSession));
  EXPECT_THAT(memory_->Begin("u2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("was cut off")));
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT(kernel_.Outgoing(), IsEmpty());
  EXPECT_THAT(memory_->Begin("u2"), IsOk());
}

TEST_F(LuoMemoryTest, AProcessThatDiesLeavesNothingPreserved) {
  ASSERT_OK_AND_ASSIGN(auto outgoing, memory_->Begin("u1"));
  ASSERT_THAT(
      outgoing->PreserveRam(kWeb, "pc.ram", MakeMemfd("guest", kRamBytes)),
      IsOk());
  outgoing = nullptr;
  Restart();
  EXPECT_THAT(kernel_.Outgoing(), IsEmpty());
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  EXPECT_THAT(memory_->Begin("u2"), IsOk());
}

TEST_F(LuoMemoryTest, UnpreserveWorksAfterARebootThatCameBack) {
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  ASSERT_OK_AND_ASSIGN(const absl::Span<uint8_t> area,
                       outgoing->ReserveStateArea(kAreaBytes));
  const UniqueFd ram = MakeMemfd("guest", kRamBytes);
  ASSERT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram), IsOk());
  ASSERT_THAT(outgoing->Flush(), IsOk());
  // reboot(2) froze, failed, unfroze: the kernel has what it had.
  EXPECT_THAT(outgoing->Unpreserve(), IsOk());
  EXPECT_THAT(outgoing->Unpreserve(), IsOk());
  EXPECT_THAT(kernel_.Outgoing(), IsEmpty());
  EXPECT_EQ(kernel_.FileCount(), 0);
  area[0] = 1;  // Still mapped.
  EXPECT_THAT(
      outgoing->PreserveRam(kDb, "pc.ram", MakeMemfd("x", kRamBytes)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("any more")));
  EXPECT_THAT(outgoing->Flush(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("")));
  ASSERT_OK_AND_ASSIGN(const auto second, memory_->Begin("u2"));
  EXPECT_THAT(second->PreserveRam(kWeb, "pc.ram", ram), IsOk());
}

TEST_F(LuoMemoryTest, TheSameMemoryTwiceDoesNotReachTheKernel) {
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  const UniqueFd ram = MakeMemfd("guest", kRamBytes);
  ASSERT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram), IsOk());
  const int calls = kernel_.preserve_calls();
  EXPECT_THAT(outgoing->PreserveRam(kDb, "pc.ram", ram),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("its memory is preserved already")));
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", MakeMemfd("x", kRamBytes)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("this block is preserved already")));
  EXPECT_EQ(kernel_.preserve_calls(), calls);
}

TEST_F(LuoMemoryTest, RefusesMemoryThatTheKernelCanNotKeep) {
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", null),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("preserve pc.ram"),
                             HasSubstr("device or socket"))));
  const UniqueFd empty(memfd_create("empty", MFD_CLOEXEC));
  EXPECT_THAT(
      outgoing->PreserveRam(kWeb, "pc.ram", empty),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("0 bytes")));
  const UniqueFd large(memfd_create("large", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(large.get(), off_t{1} << 40), 0);
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", large),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("several smaller NUMA nodes")));
  EXPECT_THAT(outgoing->PreserveRam("web", "pc.ram", MakeMemfd("x", kRamBytes)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
  // None of them stands in the way of the right one.
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", MakeMemfd("x", kRamBytes)),
              IsOk());
}

TEST_F(LuoMemoryTest, SaysWhatTheKernelHasNoRoomFor) {
  kernel_.FailNextCreate(ENOSPC);
  EXPECT_THAT(memory_->Begin("u1"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("create session hu-handover")));
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  EXPECT_THAT(
      outgoing->ReserveStateArea(uint64_t{1} << 60),
      StatusIs(
          absl::StatusCode::kResourceExhausted,
          AllOf(HasSubstr(absl::StrCat(uint64_t{1} << 60, " bytes needed")),
                HasSubstr(" free"))));
  EXPECT_THAT(outgoing->ReserveStateArea(0),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("")));
  EXPECT_THAT(outgoing->ReserveStateArea(kAreaBytes), IsOk());
  EXPECT_THAT(outgoing->ReserveStateArea(kAreaBytes),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("reserved already")));
  const UniqueFd ram = MakeMemfd("x", kRamBytes);
  kernel_.FailNextCreate(ENOSPC);
  EXPECT_THAT(
      outgoing->PreserveRam(kWeb, "pc.ram", ram),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(kWebSession)));
  kernel_.FailNextPreserve(ENOMEM);
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("must be resident")));
  kernel_.FailNextPreserve(EBUSY);
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("preserved already")));
  EXPECT_THAT(outgoing->PreserveRam(kWeb, "pc.ram", ram), IsOk());
  ASSERT_OK_AND_ASSIGN(const uint64_t free_bytes, memory_->FreeBytes());
  EXPECT_GT(free_bytes, kAreaBytes);
}

TEST_F(LuoMemoryTest, SaysThatAnotherProcessHasTheDevice) {
  const auto device = kernel_.OpenDevice();
  ASSERT_THAT(device, IsOk());
  EXPECT_THAT(memory_->HasHandover(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("fuser -v")));
  EXPECT_THAT(memory_->Begin("u1"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("fuser -v")));
}

TEST_F(LuoMemoryTest, WaitsForAnotherProcessThatHasTheDeviceBriefly) {
  auto device = kernel_.OpenDevice();
  ASSERT_THAT(device, IsOk());
  std::thread other([&device] {
    absl::SleepFor(absl::Milliseconds(30));
    device->reset();
  });
  EXPECT_THAT(memory_->HasHandover(), IsOk());
  other.join();
}

TEST_F(LuoMemoryTest, SaysThatAnotherUpdateIsUnderWay) {
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  EXPECT_THAT(Open()->Begin("u2"), StatusIs(absl::StatusCode::kAlreadyExists,
                                            HasSubstr("under way")));
}

TEST_F(LuoMemoryTest, PreservesManyVmsAtOnce) {
  ASSERT_OK_AND_ASSIGN(const auto outgoing, memory_->Begin("u1"));
  constexpr int kVms = 16;
  std::vector<std::thread> threads;
  threads.reserve(kVms);
  std::atomic<int> failed = 0;
  for (int i = 0; i < kVms; ++i) {
    threads.emplace_back([&outgoing, &failed, i] {
      const std::string uuid =
          absl::StrFormat("c7a5fdbd-edaf-9455-926a-%012x", i);
      if (!outgoing->PreserveRam(uuid, "pc.ram", MakeMemfd("x", kRamBytes))
               .ok()) {
        ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // The device can be opened by one thread at a time: SessionFor() is under a
  // lock.
  EXPECT_EQ(failed, 0);
  ASSERT_THAT(outgoing->Flush(), IsOk());
  Kexec();
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  EXPECT_THAT(incoming->VmUuids().value(), SizeIs(kVms));
}

// --- New kernel ---

TEST_F(LuoMemoryTest, AHostWithoutHandoverAsksTheKernelOnce) {
  EXPECT_FALSE(HasHandover());
  kernel_.FailOpen(EBUSY);
  Restart();
  EXPECT_FALSE(HasHandover());
  EXPECT_THAT(memory_->Retrieve(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
  EXPECT_EQ(Unfinished(), nullptr);
  EXPECT_EQ(memory_->CollectGarbage().value(), 0);
}

TEST_F(LuoMemoryTest, LookingForAHandoverLosesNothing) {
  HandOver("u1", {kWeb});
  EXPECT_TRUE(HasHandover());
  EXPECT_EQ(Unfinished(), nullptr);
  Restart();  // `restore --hold-autostart` ends, `restore` starts.
  EXPECT_TRUE(HasHandover());
  EXPECT_THAT(memory_->Begin("u2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not been retrieved yet")));
  EXPECT_THAT(memory_->DiscardStaleOutgoing(), IsOk());
  ASSERT_THAT(memory_->Retrieve(), IsOk());
  EXPECT_FALSE(HasHandover());
  EXPECT_THAT(memory_->Retrieve(), StatusIs(absl::StatusCode::kNotFound,
                                            HasSubstr("retrieved before")));
  const auto incoming = Unfinished();
  ASSERT_NE(incoming, nullptr);
  EXPECT_EQ(incoming->update_id(), "u1");
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kWeb));
}

TEST_F(LuoMemoryTest, ARestorerMayDieAtAnyTimeAndAnotherGoesOn) {
  HandOver("u1", {kWeb, kDb});
  UniqueFd qemu;
  {
    ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
    ASSERT_OK_AND_ASSIGN(qemu, incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]));
    ASSERT_THAT(incoming->RetrieveRam(kDb, "pc.ram", ram_[1]), IsOk());
  }
  Restart();
  {
    const auto incoming = Unfinished();
    ASSERT_NE(incoming, nullptr);
    EXPECT_EQ(incoming->image()[0], 'u');
    ASSERT_OK_AND_ASSIGN(const UniqueFd again,
                         incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]));
    EXPECT_EQ(InodeOf(again), InodeOf(qemu));
    EXPECT_THAT(incoming->Release(kWeb), IsOk());
    EXPECT_FALSE(incoming->FinishIfEmpty().value());
  }
  Restart();  // Hours later, by an operator.
  const auto incoming = Unfinished();
  ASSERT_NE(incoming, nullptr);
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb));
  EXPECT_THAT(incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("given up")));
  EXPECT_THAT(memory_->Begin("u2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(kDb), HasSubstr("--discard VM"))));
  ASSERT_OK_AND_ASSIGN(const UniqueFd db,
                       incoming->RetrieveRam(kDb, "pc.ram", ram_[1]));
  EXPECT_EQ(ContentsOf(db, 36), kDb);
  EXPECT_THAT(incoming->Release(kDb), IsOk());
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
  EXPECT_EQ(kernel_.FileCount(), 0);
}

TEST_F(LuoMemoryTest, ASetWithNoVmLeftDoesNotStandInTheWay) {
  HandOver("u1", {kWeb});
  {
    ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
    ASSERT_THAT(incoming->Release(kWeb), IsOk());
  }
  Restart();  // Cut off before FinishIfEmpty().
  const auto incoming = Unfinished();
  ASSERT_NE(incoming, nullptr);
  EXPECT_THAT(incoming->VmUuids().value(), IsEmpty());
  EXPECT_THAT(memory_->Begin("u2"), IsOk());
  EXPECT_EQ(Unfinished(), nullptr);
}

TEST_F(LuoMemoryTest, ADiscardedVmsMemoryIsFreed) {
  HandOver("u1", {kWeb, kDb});
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  const size_t files = kernel_.FileCount();
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_EQ(kernel_.FileCount(), files - 1);
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb));
  EXPECT_THAT(incoming->RetrieveRam(kDb, "pc.ram", ram_[1]), IsOk());
}

TEST_F(LuoMemoryTest, AVmWhoseMemoryIsLostForGoodCostsNoOther) {
  HandOver("u1", {kWeb, kDb});
  kernel_.FailRetrieve(kWebSession, 2, ENOMEM);
  ASSERT_EQ(ram_[0].token, "2");
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(HasSubstr("pc.ram"), HasSubstr("is lost"))));
  }
  EXPECT_THAT(incoming->RetrieveRam(kDb, "pc.ram", ram_[1]), IsOk());
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb, kWeb));
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb));
}

TEST_F(LuoMemoryTest, AVmWhoseSessionIsGoneCostsNoOther) {
  HandOver("u1", {kWeb, kDb});
  {
    // Somebody took it and let it go.
    ASSERT_OK_AND_ASSIGN(const auto device, kernel_.OpenDevice());
    ASSERT_THAT(device->RetrieveSession(kWebSession), IsOk());
  }
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb));
  EXPECT_THAT(incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("lost")));
  EXPECT_THAT(incoming->RetrieveRam(kDb, "pc.ram", ram_[1]), IsOk());
}

TEST_F(LuoMemoryTest, AVmThatCouldNotBeTakenOverAtOnceIsLater) {
  HandOver("u1", {kWeb, kDb});
  kernel_.FailNextRetrieveSession(kWebSession, ENOMEM);
  { ASSERT_THAT(memory_->Retrieve(), IsOk()); }
  EXPECT_THAT(Keeper().List().value(),
              ElementsAre("hu-handover", absl::StrCat("hu-vm-", kDb),
                          absl::StrCat("left/", kWebSession)));
  Restart();
  const auto incoming = Unfinished();
  ASSERT_NE(incoming, nullptr);
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb, kWeb));
  EXPECT_THAT(incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]), IsOk());
  EXPECT_THAT(
      Keeper().List().value(),
      ElementsAre("hu-handover", absl::StrCat("hu-vm-", kDb), kWebSession));
}

TEST_F(LuoMemoryTest, AVmThatWasLeftInTheKernelCanBeGivenUp) {
  HandOver("u1", {kWeb});
  kernel_.FailNextRetrieveSession(kWebSession, ENOMEM);
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  EXPECT_FALSE(incoming->FinishIfEmpty().value());
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
  EXPECT_EQ(kernel_.FileCount(), 0);
}

TEST_F(LuoMemoryTest, ARestorerThatDiesWhileItTakesOverIsFollowedUp) {
  HandOver("u1", {kWeb, kDb});
  ASSERT_TRUE(HasHandover());
  {
    // As far as the first VM, with its mark still there.
    ASSERT_OK_AND_ASSIGN(const auto device, kernel_.OpenDevice());
    ASSERT_OK_AND_ASSIGN(const auto session,
                         device->RetrieveSession(kWebSession));
    ASSERT_THAT(Keeper().Put(kWebSession, session->fd()), IsOk());
    ASSERT_THAT(Keeper().Put(absl::StrCat("left/", kWebSession), session->fd()),
                IsOk());
  }
  Restart();
  EXPECT_TRUE(HasHandover());
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kDb, kWeb));
  EXPECT_THAT(incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]), IsOk());
  EXPECT_THAT(
      Keeper().List().value(),
      ElementsAre("hu-handover", absl::StrCat("hu-vm-", kDb), kWebSession));
}

TEST_F(LuoMemoryTest, ARestorerThatDiesAsItHasTakenOverIsFollowedUp) {
  HandOver("u1", {kWeb});
  { ASSERT_THAT(memory_->Retrieve(), IsOk()); }
  // Before the old name went.
  ASSERT_OK_AND_ASSIGN(const UniqueFd session, Keeper().Get("hu-handover"));
  ASSERT_THAT(Keeper().Put("new/hu-handover", session), IsOk());
  Restart();
  EXPECT_FALSE(HasHandover());
  const auto incoming = Unfinished();
  ASSERT_NE(incoming, nullptr);
  EXPECT_THAT(incoming->Release(kWeb), IsOk());
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
  EXPECT_FALSE(HasHandover());
}

TEST_F(LuoMemoryTest, RamThatIsNotWhatTheImageSaysIsRefused) {
  HandOver("u1", {kWeb, kDb});
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  const auto expect_lost = [&](absl::string_view uuid, absl::string_view block,
                               const PreservedRam& ram, const char* why) {
    EXPECT_THAT(incoming->RetrieveRam(uuid, block, ram),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(why)));
  };
  expect_lost(kWeb, "pc.ram", ram_[1], "by the index");
  expect_lost(kWeb, "other", ram_[0], "no block of this name");
  expect_lost("c7a5fdbd-edaf-9455-926a-000000000000", "pc.ram", ram_[0],
              "nothing of this VM");
  PreservedRam other = ram_[0];
  other.identity.size_bytes += 4096;
  expect_lost(kWeb, "pc.ram", other, "by the index");
  other = ram_[0];
  other.token = "02";
  expect_lost(kWeb, "pc.ram", other, "by the index");
  EXPECT_THAT(incoming->RetrieveRam("web", "pc.ram", ram_[0]),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
}

TEST_F(LuoMemoryTest, ALostImageLeavesTheVmsToBeGivenUp) {
  HandOver("u1", {kWeb});
  kernel_.FailRetrieve("hu-handover", 1, ENOMEM);
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  EXPECT_THAT(incoming->image(), IsEmpty());
  EXPECT_THAT(incoming->VmUuids().value(), ElementsAre(kWeb));
  EXPECT_THAT(incoming->Discard(kWeb), IsOk());
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
}

TEST_F(LuoMemoryTest, ALostIndexLeavesEverythingReserved) {
  HandOver("u1", {kWeb});
  kernel_.FailRetrieve("hu-handover", 0, ENOMEM);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(HasHandover());
    EXPECT_THAT(memory_->Retrieve(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("boots cold")));
  }
  EXPECT_THAT(kernel_.Incoming(), ElementsAre("hu-handover", kWebSession));
}

TEST_F(LuoMemoryTest, SaysThatTheKernelCanNotReadTheHandover) {
  HandOver("u1", {kWeb});
  kernel_.FailOpen(EIO);
  EXPECT_THAT(memory_->HasHandover(), StatusIs(absl::StatusCode::kDataLoss,
                                               HasSubstr("another version")));
  EXPECT_THAT(memory_->Retrieve(), StatusIs(absl::StatusCode::kDataLoss,
                                            HasSubstr("another version")));
}

TEST_F(LuoMemoryTest, AHandoverThatSomebodyElseHoldsIsNamed) {
  HandOver("u1", {kWeb});
  ASSERT_OK_AND_ASSIGN(auto device, kernel_.OpenDevice());
  ASSERT_OK_AND_ASSIGN(const auto session,
                       device->RetrieveSession("hu-handover"));
  device = nullptr;
  EXPECT_THAT(memory_->HasHandover(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("another process than our keeper")));
}

TEST_F(LuoMemoryTest, TheKeepersDeathLosesWhatWaitsAndNothingThatRuns) {
  HandOver("u1", {kWeb, kDb});
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  ASSERT_OK_AND_ASSIGN(const UniqueFd qemu,
                       incoming->RetrieveRam(kWeb, "pc.ram", ram_[0]));
  KillKeeper();
  EXPECT_EQ(kernel_.FileCount(), 0);
  EXPECT_EQ(ContentsOf(qemu, 36), kWeb);
  EXPECT_THAT(incoming->RetrieveRam(kDb, "pc.ram", ram_[1]),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("lost")));
  EXPECT_THAT(incoming->Release(kWeb), IsOk());
  EXPECT_EQ(Unfinished(), nullptr);
  // Said once; then the host goes on without.
  EXPECT_THAT(memory_->Retrieve(),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("keeper of the last kernel's handover was")));
  EXPECT_FALSE(HasHandover());
  EXPECT_THAT(memory_->Begin("u2"), IsOk());
}

TEST_F(LuoMemoryTest, ManyVmsAreReleasedAtOnce) {
  constexpr int kVms = 40;
  std::vector<std::string> uuids;
  uuids.reserve(kVms);
  for (int i = 0; i < kVms; ++i) {
    uuids.push_back(absl::StrFormat("c7a5fdbd-edaf-9455-926a-%012x", i));
  }
  HandOver("u1", uuids);
  ASSERT_OK_AND_ASSIGN(const auto incoming, memory_->Retrieve());
  std::vector<std::thread> threads;
  threads.reserve(kVms);
  std::atomic<int> failed = 0;
  for (size_t i = 0; i < uuids.size(); ++i) {
    threads.emplace_back([&, i] {
      if (!incoming->RetrieveRam(uuids[i], "pc.ram", ram_[i]).ok() ||
          !incoming->Release(uuids[i]).ok()) {
        ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_TRUE(incoming->FinishIfEmpty().value());
  EXPECT_EQ(kernel_.FileCount(), 0);
}

TEST(LuoMemoryOpenTest, SaysWhatAHostWithoutItNeeds) {
  EXPECT_THAT(
      LuoMemory::Open({.device = "/none/liveupdate"}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("kho=on liveupdate=on")));
}

}  // namespace
}  // namespace live_update
