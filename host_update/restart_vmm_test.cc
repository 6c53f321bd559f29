#include "host_update/restart_vmm.h"

#include <fcntl.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/journal.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "host_update/undo.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::FakeHypervisor;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kMemory[] = "what the guest wrote into its memory";

// A host with vm1 running and vm2 paused, whose RAM files lose their names when
// their QEMU ends, as with libvirt.
class RestartVmmTest : public ::testing::Test {
 protected:
  RestartVmmTest() {
    hypervisor().RemoveRamOnEnd();
    hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
    hypervisor().AddVm("vm2", VmState::kPaused, kMemory);
    old_ = hypervisor().vm("vm1").process;
  }

  FakeHypervisor& hypervisor() { return host_.hypervisor(); }
  const FakeHypervisor::Vm& vm1() { return hypervisor().vm("vm1"); }

  RestartReport Restart(const std::vector<std::string>& vms) {
    const auto report = RestartVmm(host_.Request(), vms, host_.deps());
    EXPECT_THAT(report.status(), IsOk());
    return report.value_or(RestartReport());
  }

  void ExpectRunsAsBefore() {
    EXPECT_EQ(vm1().info.state, VmState::kRunning);
    EXPECT_EQ(vm1().process, old_);
    EXPECT_FALSE(vm1().save_pending);
    ExpectNothingLeft();
  }

  void ExpectRunsInNewQemu() {
    EXPECT_EQ(vm1().info.state, VmState::kRunning);
    EXPECT_NE(vm1().process.pid, old_.pid);
    EXPECT_EQ(vm1().loaded_state, "vm1 save 1");
    EXPECT_EQ(hypervisor().Memory("vm1"), kMemory);
    ExpectNothingLeft();
  }

  void ExpectNothingLeft() {
    EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
    const auto journal = ReadJournal(host_.deps().paths.run_dir);
    ASSERT_THAT(journal.status(), IsOk());
    EXPECT_FALSE(journal->has_value());
  }

  FakeHost host_;
  VmProcess old_;
};

TEST_F(RestartVmmTest, TakesEachVmIntoANewProcessOverTheSameMemory) {
  const uint64_t inode = vm1().ram_inode;
  const RestartReport report = Restart({});
  EXPECT_EQ(report.result(), RestartReport::RESTARTED);
  ASSERT_EQ(report.vms_size(), 2);
  const RestartedVm& vm = report.vms(0);
  EXPECT_EQ(vm.result(), RestartedVm::RESTARTED);
  EXPECT_EQ(vm.pid_before(), old_.pid);
  EXPECT_EQ(vm.pid_after(), vm1().process.pid);
  EXPECT_EQ(vm.qemu_before(), "10.0.2");
  EXPECT_EQ(vm.qemu_after(), "10.0.2");
  EXPECT_EQ(vm.vm().ram_bytes_copied(), 0);
  EXPECT_THAT(vm.vm().ram_proof(),
              ElementsAre(HasSubstr(absl::StrCat("inode ", inode))));
  // The fake clock goes on by 5 ms each time it is asked.
  EXPECT_GT(vm.vm().blackout_s(), 0.02);
  EXPECT_LT(vm.vm().blackout_s(), 0.5);
  EXPECT_EQ(vm1().announced, 1);
  ExpectRunsInNewQemu();
  EXPECT_EQ(hypervisor().vm("vm2").info.state, VmState::kPaused);
  EXPECT_EQ(hypervisor().vm("vm2").loaded_state, "vm2 save 1");
}

TEST_F(RestartVmmTest, CanBeDoneAgain) {
  Restart({"vm1"});
  EXPECT_EQ(Restart({"vm1"}).result(), RestartReport::RESTARTED);
  EXPECT_EQ(hypervisor().Memory("vm1"), kMemory);
  ExpectNothingLeft();
}

TEST_F(RestartVmmTest, DoesNotTouchVmsThatAreNotNamed) {
  const VmProcess vm2 = hypervisor().vm("vm2").process;
  EXPECT_EQ(Restart({"vm1"}).vms_size(), 1);
  EXPECT_EQ(hypervisor().vm("vm2").process, vm2);
  EXPECT_EQ(hypervisor().vm("vm2").saves, 0);
}

TEST_F(RestartVmmTest, RefusesVmsThatItCanNotFind) {
  hypervisor().AddVm("off", VmState::kOff, kMemory);
  for (const std::vector<std::string>& vms :
       {std::vector<std::string>{"vm1", "vm9"},
        {"vm1", "off"},
        {"vm1", vm1().info.ref.uuid}}) {
    EXPECT_THAT(RestartVmm(host_.Request(), vms, host_.deps()).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")));
  }
  ExpectRunsAsBefore();
}

TEST_F(RestartVmmTest, RefusesTheLuoBackend) {
  UpdateRequest request = host_.Request();
  request.backend = "luo";
  EXPECT_THAT(RestartVmm(request, {}, host_.deps()).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("luo")));
  ExpectRunsAsBefore();
}

TEST_F(RestartVmmTest, LeavesAVmAloneThatTheCheckRefuses) {
  host_.deps().evaluate = [](const PreflightInput& input) {
    CheckReport check;
    Finding& host = *check.add_findings();
    host.set_subject("host");
    host.set_severity(Finding::ERROR);
    if (input.vms[0].info.ref.name == "vm1") {
      Finding& finding = *check.add_findings();
      finding.set_code("BLOCK_JOB");
      finding.set_subject("vm1");
      finding.set_severity(Finding::ERROR);
    }
    return check;
  };
  const RestartReport report = Restart({});
  EXPECT_EQ(report.result(), RestartReport::UNHARMED);
  EXPECT_EQ(report.vms(0).result(), RestartedVm::REFUSED);
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("BLOCK_JOB"));
  EXPECT_EQ(report.vms(1).result(), RestartedVm::RESTARTED);
  ExpectRunsAsBefore();
}

TEST_F(RestartVmmTest, LeavesAKernelStagedThatSomebodyElseHas) {
  const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_THAT(host_.deps().kexec->StageFile(file, file, ""), IsOk());
  host_.FailOn(Phase::kSave);
  Restart({"vm1"});
  EXPECT_TRUE(host_.deps().kexec->IsStaged().value());
}

// Everything before the old QEMU is ended.
class TurnsBackTest : public RestartVmmTest,
                      public ::testing::WithParamInterface<Phase> {};

TEST_P(TurnsBackTest, AndTheVmRunsAsBefore) {
  host_.FailOn(GetParam());
  const RestartReport report = Restart({"vm1"});
  EXPECT_EQ(report.result(), RestartReport::UNHARMED);
  EXPECT_EQ(report.vms(0).result(), RestartedVm::UNHARMED);
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("injected"));
  ExpectRunsAsBefore();
}

TEST_P(TurnsBackTest, AfterItWasKilledThere) {
  EXPECT_DEATH(
      {
        host_.DieOn(Phase::kRestore);
        (void)RestartVmm(host_.Request(), {"vm1"}, host_.deps());
      },
      "");
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  ExpectRunsAsBefore();
}

INSTANTIATE_TEST_SUITE_P(AtEachPhase, TurnsBackTest,
                         ::testing::Values(Phase::kPrepare, Phase::kPause,
                                           Phase::kSave, Phase::kCommit),
                         [](const auto& param_info) {
                           return std::string(PhaseName(param_info.param));
                         });

TEST_F(RestartVmmTest, TurnsBackIfTheOldQemuIsNotAsItWasSaved) {
  hypervisor().FailNext("EndProcess", "vm1",
                        absl::FailedPreconditionError("it runs"));
  const RestartReport report = Restart({"vm1"});
  EXPECT_EQ(report.vms(0).result(), RestartedVm::UNHARMED);
  ExpectRunsAsBefore();
}

TEST_F(RestartVmmTest, StopsBetweenTwoVmsWhenAsked) {
  ASSERT_THAT(hypervisor().Resume(hypervisor().vm("vm2").info.ref, true,
                                  absl::InfiniteFuture()),
              IsOk());
  // The request comes while vm1 does not run: it is restored first.
  bool asked = false;
  host_.OnEntering(Phase::kRestore, [&asked] { asked = true; });
  host_.deps().entered = [&asked, inner = host_.deps().entered](Phase phase) {
    const absl::Status status = inner(phase);
    return asked ? absl::CancelledError("asked to stop") : status;
  };
  const RestartReport report = Restart({});
  EXPECT_EQ(report.result(), RestartReport::STOPPED);
  EXPECT_EQ(report.vms(0).result(), RestartedVm::RESTARTED);
  EXPECT_EQ(report.vms(1).result(), RestartedVm::NOT_BEGUN);
  ExpectRunsInNewQemu();
  EXPECT_EQ(hypervisor().vm("vm2").saves, 0);
}

// After it.

TEST_F(RestartVmmTest, TriesARestoreAgain) {
  hypervisor().FailNext("Restore", "vm1", absl::InternalError("injected"));
  EXPECT_EQ(Restart({"vm1"}).result(), RestartReport::RESTARTED);
  ExpectRunsInNewQemu();
}

TEST_F(RestartVmmTest, DoesNotTryAgainIfTheGuestMayHaveRun) {
  hypervisor().FailNext("Restore", "vm1", absl::AbortedError("it ran"));
  const RestartReport report = Restart({"vm1"});
  EXPECT_EQ(report.vms(0).result(), RestartedVm::NOT_BACK);
  EXPECT_EQ(report.vms(0).reason(), "it ran");
  EXPECT_EQ(vm1().info.state, VmState::kOff);
}

TEST_F(RestartVmmTest, KeepsWhatItCanNotRestoreAndBeginsNoOther) {
  hypervisor().FailNext("Restore", "vm1", absl::InternalError("injected"), 2);
  const RestartReport report = Restart({});
  EXPECT_EQ(report.result(), RestartReport::VM_NOT_BACK);
  EXPECT_EQ(report.vms(0).result(), RestartedVm::NOT_BACK);
  EXPECT_THAT(report.vms(0).vm().next_step(), HasSubstr("--retry vm1"));
  EXPECT_EQ(report.vms(1).result(), RestartedVm::NOT_BEGUN);
  EXPECT_EQ(hypervisor().vm("vm2").saves, 0);

  const auto status = ReadStatus(host_.deps());
  ASSERT_THAT(status.status(), IsOk());
  ASSERT_EQ(status->unrestored_size(), 1);
  EXPECT_THAT(status->unrestored(0).next_step(), HasSubstr("--retry vm1"));

  // `restore` of a boot leaves it to --retry, which brings it back.
  EXPECT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--retry")));
  const auto retried = RetryVm("vm1", host_.deps());
  ASSERT_THAT(retried.status(), IsOk());
  EXPECT_EQ(retried->vms(0).result(), VmReport::RESTORED);
  ExpectRunsInNewQemu();
}

TEST_F(RestartVmmTest, KeepsAVmOverABootOfTheHost) {
  hypervisor().FailNext("Restore", "vm1", absl::InternalError("injected"), 2);
  Restart({"vm1"});
  host_.Kexec(1);
  EXPECT_TRUE(HoldAutostart(host_.deps()).value());
  EXPECT_THAT(RetryVm("vm1", host_.deps()).status(), IsOk());
  ExpectRunsInNewQemu();
}

TEST_F(RestartVmmTest, GoesOnLaterIfTheOldQemuDoesNotEnd) {
  hypervisor().FailNext("EndProcess", "vm1",
                        absl::DeadlineExceededError("libvirt is silent"));
  const RestartReport report = Restart({"vm1"});
  EXPECT_EQ(report.result(), RestartReport::VM_NOT_BACK);
  EXPECT_EQ(vm1().info.state, VmState::kPaused);
  // Neither is it restored beside its old QEMU, nor is its memory given up.
  EXPECT_THAT(RetryVm("vm1", host_.deps()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("host-update abort")));
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  ExpectRunsInNewQemu();
}

TEST_F(RestartVmmTest, GoesBackLaterIfTheVmWasResumedMeanwhile) {
  hypervisor().FailNext("EndProcess", "vm1",
                        absl::DeadlineExceededError("libvirt is silent"));
  Restart({"vm1"});
  ASSERT_THAT(hypervisor().Resume(vm1().info.ref, true, absl::InfiniteFuture()),
              IsOk());
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  ExpectRunsAsBefore();
}

TEST_F(RestartVmmTest, GoesOnAfterItWasKilled) {
  EXPECT_DEATH(
      {
        host_.DieOn(Phase::kRestore);
        (void)RestartVmm(host_.Request(), {"vm1"}, host_.deps());
      },
      "");
  // The fake VMs of the child died with it: ours ends where its did.
  hypervisor().Crash("vm1");
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  ExpectRunsInNewQemu();
}

TEST_F(RestartVmmTest, IsKeptIfGoingOnFails) {
  EXPECT_DEATH(
      {
        host_.DieOn(Phase::kRestore);
        (void)RestartVmm(host_.Request(), {"vm1"}, host_.deps());
      },
      "");
  hypervisor().Crash("vm1");
  hypervisor().FailNext("Restore", "vm1", absl::InternalError("injected"));
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("host-update restore --retry vm1")));
  EXPECT_THAT(RetryVm("vm1", host_.deps()).status(), IsOk());
  ExpectRunsInNewQemu();
}

// Its new QEMU, in which it ran, ends together with this program.
TEST_F(RestartVmmTest, AVmThatRanOnIsNotTakenBackToWhatWasSaved) {
  EXPECT_DEATH(
      {
        host_.DieOn(Phase::kResume);
        (void)RestartVmm(host_.Request(), {"vm1"}, host_.deps());
      },
      "");
  hypervisor().Crash("vm1");
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("its saved state is stale"),
                             HasSubstr("restore --discard vm1"))));
  EXPECT_EQ(vm1().info.state, VmState::kOff);
  EXPECT_THAT(DiscardVm("vm1", host_.deps()), IsOk());
  ExpectNothingLeft();
}

TEST_F(RestartVmmTest, AQemuThatDiesWhileItIsSavedIsNamed) {
  host_.OnEntering(Phase::kSave, [this] { hypervisor().Crash("vm1"); });
  host_.FailOn(Phase::kSave);
  const RestartReport report = Restart({"vm1"});
  EXPECT_EQ(report.result(), RestartReport::VM_NOT_BACK);
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("its QEMU is gone"));
  EXPECT_THAT(report.vms(0).vm().next_step(), HasSubstr("virsh start vm1"));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace live_update
