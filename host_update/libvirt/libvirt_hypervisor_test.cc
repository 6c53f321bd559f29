// Against libvirt's test driver: one running domain, no QEMU. With a QEMU:
// libvirt_qemu_test.cc.
#include "host_update/libvirt/libvirt_hypervisor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

// The domain that test:///default has.
const VmRef kVm = {.name = "test",
                   .uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"};

class LibvirtHypervisorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(hypervisor_,
                         ConnectToLibvirt("test:///default", Soon()));
  }
  // All connections to test:///default share one domain.
  void TearDown() override {
    EXPECT_THAT(hypervisor_->Resume(kVm, /*run=*/true, Soon()), IsOk());
  }

  VmState State() { return hypervisor_->List(Soon()).value().at(0).state; }

  std::unique_ptr<Hypervisor> hypervisor_;
};

TEST_F(LibvirtHypervisorTest, ListsDomains) {
  ASSERT_OK_AND_ASSIGN(const std::vector<VmInfo> vms,
                       hypervisor_->List(Soon()));
  ASSERT_THAT(vms, SizeIs(1));
  EXPECT_EQ(vms[0].ref.name, kVm.name);
  EXPECT_EQ(vms[0].ref.uuid, kVm.uuid);
  EXPECT_EQ(vms[0].state, VmState::kRunning);
  EXPECT_TRUE(vms[0].persistent);
  EXPECT_FALSE(vms[0].autostart);
}

TEST_F(LibvirtHypervisorTest, TellsVersions) {
  ASSERT_OK_AND_ASSIGN(const HypervisorVersions versions,
                       hypervisor_->Versions(Soon()));
  EXPECT_THAT(versions.libvirt,
              ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\..*"));
}

TEST_F(LibvirtHypervisorTest, PausesAndResumes) {
  EXPECT_THAT(hypervisor_->Pause(kVm, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kPaused);
  EXPECT_THAT(hypervisor_->Pause(kVm, Soon()), IsOk());  // Nothing to do.
  EXPECT_THAT(hypervisor_->Resume(kVm, /*run=*/false, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kPaused);
  EXPECT_THAT(hypervisor_->Resume(kVm, /*run=*/true, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kRunning);
  EXPECT_THAT(hypervisor_->Resume(kVm, /*run=*/true, Soon()), IsOk());
}

TEST_F(LibvirtHypervisorTest, NeverLeavesAVmPausedThatItGaveUpOn) {
  EXPECT_THAT(hypervisor_->Pause(kVm, absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  const absl::Time deadline = Soon();
  absl::SleepFor(absl::Milliseconds(50));
  while (State() != VmState::kRunning) {
    ASSERT_LT(absl::Now(), deadline);
    absl::SleepFor(absl::Milliseconds(5));
  }
}

TEST_F(LibvirtHypervisorTest, KnowsNoOtherDomain) {
  const VmRef other = {.name = "other",
                       .uuid = "00000000-0000-0000-0000-000000000001"};
  EXPECT_THAT(hypervisor_->Pause(other, Soon()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other")));
  EXPECT_THAT(hypervisor_->Resume(other, /*run=*/true, Soon()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other")));
}

TEST_F(LibvirtHypervisorTest, StartsOnlyWhatIsOff) {
  EXPECT_THAT(hypervisor_->Start(kVm, Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("start test: it is not off")));
}

TEST_F(LibvirtHypervisorTest, SaysThatThereIsNoQemuToExamine) {
  EXPECT_THAT(hypervisor_->Examine(kVm, Soon()),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("examine test: query-version: ")));
  EXPECT_THAT(hypervisor_->Announce(kVm, Soon()),
              StatusIs(absl::StatusCode::kUnimplemented, _));
}

TEST_F(LibvirtHypervisorTest, RestoresNothingUnderAnotherName) {
  RestorableVm vm;
  vm.ref = kVm;
  vm.description.domain_xml =
      "<domain><name>test</name>"
      "<uuid>00000000-0000-0000-0000-000000000001</uuid></domain>";
  EXPECT_THAT(hypervisor_->Restore(vm, Soon()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("its domain XML is of test, UUID 00000000")));
}

TEST_F(LibvirtHypervisorTest, DoesNotRestoreOverAVmThatIsThere) {
  RestorableVm vm;
  vm.ref = kVm;
  vm.description.domain_xml =
      "<domain><name>test</name>"
      "<uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid></domain>";
  EXPECT_THAT(hypervisor_->Restore(vm, Soon()),
              StatusIs(absl::StatusCode::kAlreadyExists, _));
  EXPECT_EQ(State(), VmState::kRunning);
}

RestorableVm VmWithMemory() {
  RestorableVm vm;
  vm.ref = {.name = "other", .uuid = "00000000-0000-0000-0000-000000000001"};
  vm.description.domain_xml =
      "<domain><name>other</name>"
      "<uuid>00000000-0000-0000-0000-000000000001</uuid>"
      "<memory unit='KiB'>1024</memory>"
      "<os><type arch='x86_64'>hvm</type></os></domain>";
  return vm;
}

CprFd Block(const std::string& name, off_t bytes) {
  CprFd block = {.name = name,
                 .id = 0,
                 .fd = UniqueFd(memfd_create("block", MFD_CLOEXEC))};
  EXPECT_EQ(ftruncate(block.fd.get(), bytes), 0);
  return block;
}

// QEMU would go on with zeros.
TEST_F(LibvirtHypervisorTest, RestoresNothingWithoutItsMemory) {
  RestorableVm vm = VmWithMemory();
  vm.saved.cpr_fds.push_back(Block("pc.bios", 4 << 20));
  EXPECT_THAT(hypervisor_->Restore(vm, Soon()),
              StatusIs(absl::StatusCode::kDataLoss,
                       "restore other: RAM block pc.ram is missing"));
  vm.saved.cpr_fds.push_back(Block("pc.ram", 0));
  EXPECT_THAT(hypervisor_->Restore(vm, Soon()),
              StatusIs(absl::StatusCode::kDataLoss,
                       "restore other: RAM block pc.ram is empty"));
  vm.saved.cpr_fds.clear();
  vm.saved.cpr_fds.push_back(Block("pc.ram", 1000));
  EXPECT_THAT(
      hypervisor_->Restore(vm, Soon()),
      StatusIs(
          absl::StatusCode::kDataLoss,
          "restore other: RAM blocks of 1000 bytes for a VM with 1048576"));
}

TEST_F(LibvirtHypervisorTest, SavesToDiskAndStartsAgain) {
  EXPECT_THAT(hypervisor_->ManagedSave(kVm, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kOff);
  EXPECT_FALSE(hypervisor_->ManagedSave(kVm, Soon()).ok());
  EXPECT_THAT(hypervisor_->StopSaving(kVm, Soon()), IsOk());
  EXPECT_THAT(hypervisor_->Start(kVm, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kRunning);
}

TEST_F(LibvirtHypervisorTest, SavesToAFileAndRestoresFromIt) {
  const std::string file = ::testing::TempDir() + "/copy";
  EXPECT_THAT(hypervisor_->SaveToFile(kVm, file, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kOff);
  EXPECT_THAT(hypervisor_->RestoreFromFile(kVm, file, /*run=*/true, Soon()),
              IsOk());
  EXPECT_EQ(State(), VmState::kRunning);
  EXPECT_THAT(hypervisor_->SaveToFile(kVm, file, Soon()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(file)));
  EXPECT_EQ(State(), VmState::kRunning);
  unlink(file.c_str());
  EXPECT_FALSE(hypervisor_->RestoreFromFile(kVm, file, true, Soon()).ok());
}

TEST_F(LibvirtHypervisorTest, WaitsUntilAGuestHasShutDown) {
  EXPECT_THAT(hypervisor_->Shutdown(kVm, Soon()), IsOk());
  EXPECT_EQ(State(), VmState::kOff);
  EXPECT_FALSE(hypervisor_->Shutdown(kVm, Soon()).ok());
  EXPECT_THAT(hypervisor_->Start(kVm, Soon()), IsOk());
}

TEST(LibvirtConnectTest, WaitsForBridgesNoLongerThanItMay) {
  ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<Hypervisor> hypervisor,
      ConnectToLibvirt("test:///default", Soon(),
                       {.interface_wait = absl::Milliseconds(30)}));
  RestorableVm vm;
  vm.ref = kVm;
  vm.description.domain_xml =
      "<domain><name>test</name>"
      "<uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid><devices>"
      "<interface type='bridge'><source bridge='nowhere0'/></interface>"
      "</devices></domain>";
  EXPECT_THAT(hypervisor->Restore(vm, Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no network interface nowhere0")));
}

TEST(LibvirtConnectTest, SaysWhyThereIsNoConnection) {
  EXPECT_THAT(ConnectToLibvirt("test:///no/such/file.xml", Soon()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("connect to libvirt at test:///no/such")));
}

constexpr char kNobody[] =
    "qemu+unix:///system?socket=/nonexistent/libvirt-sock";

TEST(LibvirtConnectTest, WaitsForADaemonThatIsNotThere) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(
      WaitForLibvirt(kNobody, start + absl::Milliseconds(600)).status(),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nonexistent")));
  EXPECT_GE(absl::Now(), start + absl::Milliseconds(600));
}

TEST(LibvirtConnectTest, DoesNotWaitForWhatNeverComes) {
  EXPECT_THAT(
      WaitForLibvirt("test:///no/such/file.xml", absl::InfiniteFuture()),
      StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(LibvirtConnectTest, ServesManyThreadsOverOneConnection) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Hypervisor> hypervisor,
                       ConnectToLibvirt("test:///default", Soon()));
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&hypervisor] {
      for (int n = 0; n < 20; ++n) {
        EXPECT_THAT(hypervisor->List(Soon()), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace live_update
