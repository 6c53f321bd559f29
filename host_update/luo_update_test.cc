// What a report says of VMs whose memory the kernel's Live Update Orchestrator
// carried over, or lost: a fake kernel, real keepers.

#include <cerrno>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/identity.h"
#include "host_update/live_update.h"
#include "host_update/report/report_text.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const absl::Status kInjected = absl::InternalError("injected");

class LuoUpdateTest : public ::testing::Test {
 protected:
  LuoUpdateTest() : host_(FakeHost::Backend::kLuo) {
    vm1_ = host_.hypervisor().AddVm("vm1", VmState::kRunning, "memory of vm1");
    vm2_ = host_.hypervisor().AddVm("vm2", VmState::kRunning, "memory of vm2");
  }

  void Jump() {
    ASSERT_THAT(LiveUpdate(host_.Request(), host_.deps()).status, IsOk());
    host_.Kexec(/*seconds=*/1);
  }
  UpdateReport Restore() {
    absl::StatusOr<UpdateReport> report =
        RestoreAll(host_.clock().Sample(), host_.deps());
    EXPECT_THAT(report, IsOk());
    return report.ok() ? *report : UpdateReport();
  }
  // RETRIEVE_FD of all that this VM has fails from now on.
  void LoseRamOf(const VmRef& vm) {
    for (uint64_t token = 2; token < 4; ++token) {
      host_.luo_kernel().FailRetrieve(absl::StrCat("hu-vm-", vm.uuid), token,
                                      ENOMEM);
    }
  }
  HostStatus Status() {
    absl::StatusOr<HostStatus> status = ReadStatus(host_.deps());
    EXPECT_THAT(status, IsOk());
    return status.ok() ? *status : HostStatus();
  }
  VmState StateOf(const std::string& vm) {
    return host_.hypervisor().vm(vm).info.state;
  }

  FakeHost host_;
  VmRef vm1_;
  VmRef vm2_;
};

TEST_F(LuoUpdateTest, AllVmsRunOnFromTheSameMemory) {
  Jump();
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), "memory of vm1");
  EXPECT_THAT(report.vms(0).ram_proof(),
              ElementsAre(HasSubstr("carried over as token")));
  EXPECT_EQ(report.vms(0).ram_resident_bytes(), 8 << 20);
  EXPECT_EQ(report.vms(0).ram_huge_bytes(), 6 << 20);
  EXPECT_THAT(ReportText(report),
              HasSubstr("in huge pages: 6144 KiB of 8192 KiB of resident RAM"));
  EXPECT_EQ(host_.luo_kernel().FileCount(), 0);
}

TEST_F(LuoUpdateTest, AVmThatMayBeRetriedIsAdvisedToBe) {
  Jump();
  host_.hypervisor().FailNext("Restore", "vm1", kInjected);
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  EXPECT_THAT(report.vms(0).next_step(), HasSubstr("--retry vm1"));
  EXPECT_THAT(StatusText(Status()), HasSubstr("--retry vm1"));
  ASSERT_OK_AND_ASSIGN(const UpdateReport again, RetryVm("vm1", host_.deps()));
  EXPECT_EQ(again.result(), UpdateReport::UPDATED) << again.DebugString();
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), "memory of vm1");
}

TEST_F(LuoUpdateTest, AVmWhoseMemoryIsLostForGoodIsNotAdvisedToBeRetried) {
  Jump();
  LoseRamOf(vm1_);
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL) << report.DebugString();
  EXPECT_EQ(report.vms(0).result(), VmReport::NOT_RESTORED);
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("this memory is lost"));
  const auto only_discard =
      AllOf(HasSubstr("--discard vm1"), HasSubstr("virsh start vm1"),
            Not(HasSubstr("--retry")));
  EXPECT_THAT(report.vms(0).next_step(), only_discard);
  EXPECT_EQ(report.vms(1).result(), VmReport::RESTORED);
  EXPECT_THAT(StatusText(Status()), only_discard);

  // Should it be retried nevertheless, it says the same.
  ASSERT_OK_AND_ASSIGN(const UpdateReport again, RetryVm("vm1", host_.deps()));
  EXPECT_THAT(again.vms(0).next_step(), only_discard);
  EXPECT_THAT(DiscardVm("vm1", host_.deps()), IsOk());
  EXPECT_THAT(Status().unrestored(), IsEmpty());
  EXPECT_EQ(host_.luo_kernel().FileCount(), 0);
}

TEST_F(LuoUpdateTest, AVmThatMayHaveRunIsNeverRestored) {
  Jump();
  host_.hypervisor().FailNext("LetRun", "vm1", absl::AbortedError("it ran"));
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL) << report.DebugString();
  ASSERT_OK_AND_ASSIGN(const UpdateReport again, RetryVm("vm1", host_.deps()));
  EXPECT_TRUE(again.vms(0).lost());
  EXPECT_THAT(again.vms(0).reason(), HasSubstr("its QEMU has ended since"));
  EXPECT_THAT(StatusText(Status()),
              AllOf(HasSubstr("--discard vm1"), Not(HasSubstr("--retry"))));
  EXPECT_EQ(StateOf("vm1"), VmState::kOff);
  EXPECT_THAT(DiscardVm("vm1", host_.deps()), IsOk());
  EXPECT_EQ(host_.luo_kernel().FileCount(), 0);
}

TEST_F(LuoUpdateTest, AVmThatAnEarlierRestoreSettledIsRestored) {
  Jump();
  // All VMs run and their memory is their own again when the restore is cut
  // off: it can't write down that it is done.
  const std::string counter =
      absl::StrCat(host_.deps().paths.state_dir, "/", kRestoredCounter);
  host_.OnEntering(Phase::kResume, [&counter] {
    ASSERT_TRUE(std::filesystem::create_directories(counter + "/in-the-way"));
  });
  EXPECT_FALSE(RestoreAll(host_.clock().Sample(), host_.deps()).ok());
  EXPECT_EQ(StateOf("vm1"), VmState::kRunning);

  std::filesystem::remove_all(counter);
  host_.OnEntering(Phase::kResume, [] {});
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), "memory of vm1");
}

TEST_F(LuoUpdateTest, AKeeperThatDiesBeforeTheVmsAreRestoredLosesThem) {
  Jump();
  host_.OnEntering(Phase::kRestore, [this] { host_.KillKeeper(); });
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL) << report.DebugString();
  for (const VmReport& vm : report.vms()) {
    EXPECT_EQ(vm.result(), VmReport::NOT_RESTORED);
    EXPECT_THAT(vm.next_step(),
                AllOf(HasSubstr("nothing of it is kept"),
                      HasSubstr(absl::StrCat("virsh start ", vm.name())),
                      Not(HasSubstr("host-update restore"))));
  }
  EXPECT_EQ(StateOf("vm1"), VmState::kOff);
  EXPECT_EQ(host_.luo_kernel().FileCount(), 0);
  EXPECT_THAT(Status().unrestored(), IsEmpty());
  EXPECT_THAT(RetryVm("vm1", host_.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("vm1")));
  // The host goes on without.
  EXPECT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
}

TEST_F(LuoUpdateTest, AKeeperThatDiesLaterLosesOnlyWhatFailed) {
  Jump();
  host_.hypervisor().FailNext("Restore", "vm2", kInjected);
  host_.OnEntering(Phase::kResume, [this] { host_.KillKeeper(); });
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL) << report.DebugString();
  EXPECT_EQ(report.vms(0).result(), VmReport::RESTORED);
  EXPECT_EQ(StateOf("vm1"), VmState::kRunning);
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), "memory of vm1");
  EXPECT_EQ(report.vms(1).reason(), "injected");
  EXPECT_THAT(report.vms(1).next_step(),
              AllOf(HasSubstr("nothing of it is kept"),
                    Not(HasSubstr("host-update restore"))));
}

}  // namespace
}  // namespace live_update
