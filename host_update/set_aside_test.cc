// VMs that are carried otherwise than in place, from check to the new kernel,
// and every way back.

#include "host_update/set_aside.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "host_update/undo.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kMemory[] = "what the guest had in its memory";
const absl::Status kInjected = absl::InternalError("injected");

// One VM for each way, and a paused one.
class SetAsideTest : public ::testing::Test {
 protected:
  SetAsideTest() {
    for (const char* name : {"copied", "kept", "saved", "shut"}) {
      host_.hypervisor().AddVm(name, VmState::kRunning,
                               absl::StrCat(kMemory, " ", name));
    }
    host_.hypervisor().AddVm("paused", VmState::kPaused,
                             absl::StrCat(kMemory, " paused"));
    request_ = host_.Request();
    request_.ways = {{"copied", "copy"},
                     {"saved", "managedsave"},
                     {"paused", "managedsave"},
                     {"shut", "shutdown"}};
  }

  void ExpectAllAsBefore() {
    for (const char* name : {"copied", "kept", "saved"}) {
      EXPECT_EQ(host_.hypervisor().vm(name).info.state, VmState::kRunning)
          << name;
      EXPECT_EQ(host_.hypervisor().Memory(name),
                absl::StrCat(kMemory, " ", name));
      EXPECT_EQ(host_.hypervisor().vm(name).boots, 1) << name;
    }
    EXPECT_EQ(host_.hypervisor().vm("paused").info.state, VmState::kPaused);
    EXPECT_EQ(host_.hypervisor().Memory("paused"),
              absl::StrCat(kMemory, " paused"));
    EXPECT_EQ(host_.hypervisor().vm("shut").info.state, VmState::kRunning);
  }

  void ExpectNothingLeft() {
    EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
    EXPECT_THAT(*host_.deps().memory->Copies(), IsEmpty());
    EXPECT_EQ(host_.hypervisor().vm("saved").managed_image, "");
    EXPECT_FALSE(*host_.kexec().IsStaged());
    EXPECT_FALSE(ReadJournal(host_.deps().paths.run_dir)->has_value());
  }

  UpdateReport JumpAndRestore() {
    const LiveUpdateResult left = LiveUpdate(request_, host_.deps());
    EXPECT_THAT(left.status, IsOk()) << left.check.DebugString();
    host_.Kexec(/*seconds=*/7);
    return RestoreAll(host_.clock().Sample(), host_.deps()).value();
  }

  static const VmReport& Of(const std::string& name,
                            const UpdateReport& report) {
    for (const VmReport& vm : report.vms()) {
      if (vm.name() == name) return vm;
    }
    ADD_FAILURE() << "no report of " << name;
    return VmReport::default_instance();
  }

  FakeHost host_;
  UpdateRequest request_;
};

TEST_F(SetAsideTest, EachVmComesBackInItsOwnWay) {
  const UpdateReport report = JumpAndRestore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  ExpectAllAsBefore();
  EXPECT_EQ(host_.hypervisor().vm("shut").boots, 2);
  EXPECT_EQ(host_.hypervisor().vm("kept").loaded_state, "kept save 1");
  EXPECT_EQ(Of("kept", report).way(), "in-place");
  EXPECT_EQ(Of("copied", report).way(), "copy");
  EXPECT_EQ(Of("saved", report).way(), "managedsave");
  EXPECT_EQ(Of("shut", report).way(), "shutdown");
  EXPECT_FALSE(Of("paused", report).was_running());
  for (const VmReport& vm : report.vms()) {
    EXPECT_GT(vm.blackout_s(), 7) << vm.name();
    EXPECT_LT(vm.blackout_s(), 8) << vm.name();
  }
  EXPECT_EQ(report.phases().rbegin()->phase(), "settle");
  // What the next one would take is known of VMs in place alone.
  ASSERT_OK_AND_ASSIGN(const UpdatePlan next,
                       PlanUpdate(request_, host_.deps()));
  for (const UpdatePlan::Vm& vm : next.vms()) {
    EXPECT_EQ(vm.predicted_blackout_s(),
              vm.way() == "in-place" ? Of(vm.name(), report).blackout_s() : 0)
        << vm.name();
  }
  ExpectNothingLeft();
}

TEST_F(SetAsideTest, WhatWasSavedIsWrittenOutBeforeThePause) {
  bool saved_at_last_sync = false;
  host_.deps().sync = [&] {
    saved_at_last_sync = !host_.hypervisor().vm("saved").managed_image.empty();
  };
  bool written_out = false;
  host_.OnEntering(Phase::kPause, [&] { written_out = saved_at_last_sync; });
  EXPECT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  EXPECT_TRUE(written_out);
}

TEST_F(SetAsideTest, VmsInPlaceComeFirstThenThoseOfHigherPriority) {
  std::ofstream(host_.deps().paths.policy_file)
      << "vm { name: \"shut\" restore_priority: 7 }"
         "vm { name: \"copied\" restore_priority: -7 }";
  host_.deps().parallelism = 1;
  JumpAndRestore();
  EXPECT_THAT(host_.hypervisor().started(),
              ElementsAre("Restore kept", "Start shut", "Start paused",
                          "Start saved", "RestoreFromFile copied"));
}

TEST(RestorePriorityTest, VmsInPlaceOfAHigherOneAreRestoredFirst) {
  FakeHost host;
  for (const char* name : {"a", "b", "c"}) {
    host.hypervisor().AddVm(name, VmState::kRunning, kMemory);
  }
  host.hypervisor().MutableVm("b").policy = {{"priority", "3"}};
  std::ofstream(host.deps().paths.policy_file)
      << "vm { name: \"c\" restore_priority: 5 }";
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.deps().parallelism = 1;
  ASSERT_THAT(RestoreAll(host.clock().Sample(), host.deps()), IsOk());
  EXPECT_THAT(host.hypervisor().started(),
              ElementsAre("Restore c", "Restore b", "Restore a"));
}

TEST_F(SetAsideTest, ThePlanSaysHowAndItsHashCoversIt) {
  ASSERT_OK_AND_ASSIGN(const UpdatePlan plan,
                       PlanUpdate(request_, host_.deps()));
  ASSERT_EQ(plan.vms_size(), 5);
  EXPECT_EQ(plan.vms(0).name(), "copied");
  EXPECT_EQ(plan.vms(0).way(), "copy");
  EXPECT_THAT(plan.vms(0).why(), HasSubstr("--way"));
  EXPECT_THAT(plan.steps(0), HasSubstr("shutdown of shut"));
  request_.ways["shut"] = "in-place";
  ASSERT_OK_AND_ASSIGN(const UpdatePlan other,
                       PlanUpdate(request_, host_.deps()));
  EXPECT_NE(plan.plan_hash(), other.plan_hash());
}

TEST_F(SetAsideTest, ARefusedVmStopsTheUpdateBeforeAnythingHappens) {
  request_.ways["saved"] = "refuse";
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_TRUE(result.no_go);
  ExpectAllAsBefore();
  EXPECT_EQ(host_.hypervisor().vm("shut").boots, 1);
  EXPECT_FALSE(host_.kexec().jumped());
}

TEST_F(SetAsideTest, AGuestThatDoesNotShutDownStopsTheUpdate) {
  host_.hypervisor().MutableVm("shut").ignores_shutdown = true;
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED)
      << result.report.DebugString();
  EXPECT_THAT(result.report.reason(), HasSubstr("was not off after 2m"));
  EXPECT_EQ(result.report.failed_phase(), "prepare");
  ExpectAllAsBefore();
  EXPECT_EQ(host_.hypervisor().vm("shut").boots, 1);
  ExpectNothingLeft();
}

struct Failure {
  const char* name;
  void (*arrange)(FakeHost&);
};

class SetAsideFailureTest : public SetAsideTest,
                            public ::testing::WithParamInterface<Failure> {};

TEST_P(SetAsideFailureTest, LeavesEveryVmRunningAndNothingBehind) {
  GetParam().arrange(host_);
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_THAT(result.status,
              StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED)
      << result.report.DebugString();
  ExpectAllAsBefore();
  ExpectNothingLeft();
  host_.StopFailing();
  EXPECT_EQ(JumpAndRestore().result(), UpdateReport::UPDATED);
}

INSTANTIATE_TEST_SUITE_P(
    BeforeTheJump, SetAsideFailureTest,
    ::testing::Values(
        Failure{"ManagedSave",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("ManagedSave", "saved", kInjected);
                }},
        Failure{"SaveToFile",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("SaveToFile", "copied", kInjected);
                }},
        Failure{"Shutdown",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("Shutdown", "shut", kInjected);
                }},
        Failure{"Save",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("Save", "kept", kInjected);
                }},
        Failure{"EnterPause",
                [](FakeHost& host) { host.FailOn(Phase::kPause); }},
        Failure{"EnterJump", [](FakeHost& host) { host.FailOn(Phase::kJump); }},
        Failure{"Jump",
                [](FakeHost& host) { host.kexec().FailNextJump(kInjected); }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(SetAsideTest, TheReportSaysWhatHadToBeStartedAgain) {
  host_.FailOn(Phase::kPause);
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_THAT(result.report.reason(),
              HasSubstr("shut had been shut down, and boots again"));
  EXPECT_THAT(result.report.reason(), HasSubstr("saved had been saved"));
  EXPECT_THAT(result.report.reason(), ::testing::Not(HasSubstr("kept")));
}

TEST_F(SetAsideTest, AVmThatCantBeBroughtBackIsReportedAndTriedAgain) {
  host_.FailOn(Phase::kJump);
  host_.hypervisor().FailNext("Start", "saved", absl::UnavailableError("no"));
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_RESUME);
  EXPECT_THAT(result.report.reason(), HasSubstr("`virsh start saved`"));
  EXPECT_EQ(host_.hypervisor().vm("saved").info.state, VmState::kOff);
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  ExpectAllAsBefore();
  ExpectNothingLeft();
}

// Of a process killed in the middle of it, another one finds the VMs.
TEST_F(SetAsideTest, WhatAKilledUpdateSetAsideIsBroughtBack) {
  host_.deps().parallelism = 1;
  EXPECT_DEATH(
      {
        // In the list's order, "copied" comes before it and "shut" after it.
        host_.hypervisor().OnCall("ManagedSave", "saved",
                                  [] { kill(getpid(), SIGKILL); });
        (void)LiveUpdate(request_, host_.deps());
      },
      "");
  // The copy is on disk; the fake VMs died with the child: put ours where its
  // were.
  FakeHost& host = host_;
  ASSERT_OK_AND_ASSIGN(const auto copies, host.deps().memory->Copies());
  ASSERT_EQ(copies.size(), 1);
  host.hypervisor().MutableVm("copied").info.state = VmState::kOff;
  host.hypervisor().MutableVm("copied").ram.Reset();
  EXPECT_THAT(UndoInterruptedUpdate(host.deps()), IsOk());
  ExpectAllAsBefore();
  ExpectNothingLeft();
  EXPECT_THAT(host.hypervisor().started(),
              ElementsAre("RestoreFromFile copied"));
}

TEST_F(SetAsideTest, ARestoreThatWasCutOffGoesOn) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.Kexec(7);
  host_.FailOn(Phase::kSettle);
  EXPECT_FALSE(RestoreAll(host_.clock().Sample(), host_.deps()).ok());
  EXPECT_EQ(host_.hypervisor().vm("kept").info.state, VmState::kRunning);
  EXPECT_EQ(host_.hypervisor().vm("saved").info.state, VmState::kOff);
  host_.StopFailing();
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host_.clock().Sample(), host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  ExpectAllAsBefore();
  ExpectNothingLeft();
}

TEST_F(SetAsideTest, WhatDoesNotStartInTheNewKernelIsReportedAndKept) {
  host_.hypervisor().MutableVm("saved").info.autostart = true;
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.Kexec(7);
  ASSERT_THAT(HoldAutostart(host_.deps()), IsOk());
  host_.hypervisor().FailNext("Start", "saved", kInjected);
  host_.hypervisor().FailNext("RestoreFromFile", "copied", kInjected);
  ASSERT_OK_AND_ASSIGN(UpdateReport report,
                       RestoreAll(host_.clock().Sample(), host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  EXPECT_EQ(Of("saved", report).result(), VmReport::NOT_RESTORED);
  EXPECT_THAT(Of("saved", report).next_step(), HasSubstr("virsh start saved"));
  EXPECT_NE(host_.hypervisor().vm("saved").managed_image, "");
  // Given-back autostart leaves it alone: it was tried.
  EXPECT_EQ(host_.hypervisor().vm("saved").info.state, VmState::kOff);
  EXPECT_EQ(host_.hypervisor().vm("kept").info.state, VmState::kRunning);
  EXPECT_THAT(Of("copied", report).next_step(), HasSubstr("--retry copied"));
  ASSERT_OK_AND_ASSIGN(const HostStatus status, ReadStatus(host_.deps()));
  EXPECT_THAT(status.unrestored_vms(), ElementsAre("copied"));
  // It would boot from its disk otherwise.
  ASSERT_OK_AND_ASSIGN(const bool held, HoldAutostart(host_.deps()));
  EXPECT_TRUE(held);

  ASSERT_OK_AND_ASSIGN(report, RetryVm("copied", host_.deps()));
  EXPECT_EQ(Of("copied", report).result(), VmReport::RESTORED);
  EXPECT_EQ(host_.hypervisor().Memory("copied"),
            absl::StrCat(kMemory, " copied"));
  EXPECT_THAT(*host_.deps().memory->Copies(), IsEmpty());
}

TEST_F(SetAsideTest, ACopyCanBeGivenUp) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.Kexec(7);
  host_.hypervisor().FailNext("RestoreFromFile", "copied", kInjected);
  ASSERT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()), IsOk());
  EXPECT_THAT(DiscardVm("copied", host_.deps()), IsOk());
  EXPECT_THAT(*host_.deps().memory->Copies(), IsEmpty());
  EXPECT_EQ(host_.hypervisor().vm("copied").info.state, VmState::kOff);
}

TEST_F(SetAsideTest, ABrokenPolicyIsNoGo) {
  std::ofstream(host_.deps().paths.policy_file) << "vm {\n nmae: 1 }";
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_TRUE(result.no_go);
  EXPECT_THAT(result.check.DebugString(), HasSubstr("policy.textproto:2"));
  ExpectAllAsBefore();
}

}  // namespace
}  // namespace live_update
