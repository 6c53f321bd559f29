// The whole life of an update with fakes at the four seams: live_update in the
// old kernel, restore in the new one, and every way back.

#include "host_update/live_update.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/status_code.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/check.h"
#include "host_update/early_root.h"
#include "host_update/history.h"
#include "host_update/identity.h"
#include "host_update/journal.h"
#include "host_update/plan.h"
#include "host_update/restore.h"
#include "host_update/undo.h"
#include "testing/fake_clock.h"
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
using ::testing::Pair;
using ::testing::SizeIs;

constexpr char kMemory[] = "what the guest had in its memory";

TEST(LiveUpdateTest, AllVmsRunOnFromTheSameMemory) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, "other memory");
  host.hypervisor().AddVm("off", VmState::kOff, "");
  const uint64_t inode = host.hypervisor().vm("vm1").ram_inode;

  const LiveUpdateResult left = LiveUpdate(host.Request(), host.deps());
  ASSERT_THAT(left.status, IsOk());
  EXPECT_TRUE(host.kexec().jumped());
  host.Kexec(/*seconds=*/7);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));

  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().vm("vm2").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().vm("off").info.state, VmState::kOff);
  EXPECT_EQ(host.hypervisor().Memory("vm1"), kMemory);
  EXPECT_EQ(host.hypervisor().Memory("vm2"), "other memory");
  EXPECT_EQ(host.hypervisor().vm("vm1").loaded_state, "vm1 save 1");
  EXPECT_EQ(host.hypervisor().vm("vm1").announced, 1);
  ASSERT_EQ(report.vms_size(), 2);
  EXPECT_EQ(report.vms(0).ram_bytes_copied(), 0);
  EXPECT_THAT(report.vms(0).ram_proof(),
              ElementsAre(HasSubstr(absl::StrCat("inode ", inode))));
  EXPECT_NE(report.boot_id_before(), report.boot_id_after());
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(LiveUpdateTest, TheNextKernelIsNamedBeforeAnyVmIsPaused) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.deps().read_target = [inner = host.deps().read_target](
                                const loader::TargetRequest& request) {
    loader::TargetKernel target = inner(request);
    target.facts = loader::KernelFacts{
        .banner = "Linux version 6.1.0-57 (a@b) (gcc) #1 SMP Debian 6.1.176"};
    return target;
  };
  std::string expected;
  host.deps().expect_kernel = [&](const std::string& kernel) {
    EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
    expected = kernel;
  };
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  EXPECT_EQ(expected, "6.1.0-57 #1 SMP Debian 6.1.176");
}

// A host whose root file system early-init can mount.
void LetEarlyInitMount(FakeHost& host, const std::string& root) {
  std::filesystem::create_directories(root + "/usr/lib/host-update");
  std::ofstream(root + kEarlyInitPath) << "the program";
  host.deps().paths.root = root;
  host.deps().host_facts = [inner = host.deps().host_facts]() {
    absl::StatusOr<HostFacts> facts = inner();
    facts->early_restore_installed = true;
    EarlySteps steps;
    steps.identity.path = "/etc/machine-id";
    steps.mounts = {{.type = "ext4", .device = "/dev/vda", .directory = "/"}};
    facts->early_root = steps;
    return facts;
  };
  host.deps().read_target =
      [inner = host.deps().read_target](const loader::TargetRequest& request) {
        loader::TargetKernel target = inner(request);
        absl::StrAppend(&target.command_line, " ", request.first_boot);
        return target;
      };
}

TEST(LiveUpdateTest, EarlyInitIsStagedInFrontOfTheInitrd) {
  FakeHost host;
  const std::string root = ::testing::TempDir() + "/early_init_is_staged";
  LetEarlyInitMount(host, root);
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  ASSERT_TRUE(host.kexec().staged().has_value());
  EXPECT_THAT(host.kexec().staged()->command_line,
              HasSubstr("rdinit=/host-update/early-init"));
  EXPECT_GT(host.kexec().staged()->initrd_bytes, 0);

  // Away between the check and the staging: an error before any pause.
  FakeHost without;
  LetEarlyInitMount(without, root);
  std::filesystem::remove_all(root);
  without.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  EXPECT_THAT(LiveUpdate(without.Request(), without.deps()).status,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("early-init")));
  EXPECT_EQ(without.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_FALSE(without.kexec().staged().has_value());

  FakeHost ordinary;
  LetEarlyInitMount(ordinary, root);
  UpdateRequest request = ordinary.Request();
  request.early_root = false;
  ordinary.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(request, ordinary.deps()).status, IsOk());
  EXPECT_THAT(ordinary.kexec().staged()->command_line,
              Not(HasSubstr("rdinit")));
  EXPECT_EQ(ordinary.kexec().staged()->initrd_bytes, 0);
  std::filesystem::remove_all(root);
}

TEST(LiveUpdateTest, AHostIsCheckedBeforeItHasPreservedMemory) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.deps().memory = nullptr;
  ASSERT_OK_AND_ASSIGN(const CheckedHost checked,
                       CheckHost(host.Request(), host.deps()));
  EXPECT_EQ(checked.vms.size(), 1);
}

TEST(LiveUpdateTest, ReportsTheBlackoutAcrossTheJump) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(/*seconds=*/7);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));

  EXPECT_EQ(report.clock_bridge(), "tsc");
  // The fake RTC lost 0.4 s, and the wall clock was put right by it.
  EXPECT_NEAR(report.clock_step_s(), 0.4, 0.05);
  EXPECT_NEAR(static_cast<double>(host.clock().realtime_offset_ns() -
                                  1'700'000'000'000'000'000),
              0, 50e6);
  EXPECT_GT(report.vms(0).blackout_s(), 7);
  EXPECT_LT(report.vms(0).blackout_s(), 7.5);
  std::vector<std::string> phases;
  for (const PhaseSpan& span : report.phases()) phases.push_back(span.phase());
  EXPECT_THAT(phases, ElementsAre("prepare", "pause", "save", "commit", "jump",
                                  "restore", "resume"));
}

TEST(LiveUpdateTest, TheReportListsWhatTheOperatorOverrode) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.deps().evaluate = [](const PreflightInput&) {
    CheckReport report;
    report.set_go(true);
    report.add_findings()->set_code("VMS");
    Finding& finding = *report.add_findings();
    finding.set_code("TARGET_INITRD");
    finding.set_severity(Finding::WARNING);
    finding.set_overridden(true);
    finding.set_subject("/boot/\xff");  // A file name may be any bytes.
    finding.set_message(absl::StrCat("overridden: ", std::string(5000, 'm')));
    return report;
  };
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  ASSERT_EQ(report.findings_size(), 1) << report.DebugString();
  EXPECT_EQ(report.findings(0).code(), "TARGET_INITRD");
  EXPECT_EQ(report.findings(0).severity(), Finding::WARNING);
  EXPECT_TRUE(report.findings(0).overridden());
  EXPECT_EQ(report.findings(0).subject(), "/boot/\\377");
  EXPECT_THAT(report.findings(0).message(), HasSubstr("overridden: mmm"));
  EXPECT_EQ(report.findings(0).message().size(), 1024);
}

TEST(LiveUpdateTest, JumpsDirectlyIfAskedTo) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  UpdateRequest request = host.Request();
  request.direct_jump = "vmlinux";
  ASSERT_OK_AND_ASSIGN(const CheckedHost checked,
                       CheckHost(request, host.deps()));
  EXPECT_THAT(MakePlan(request, checked, host.deps()).steps(4),
              HasSubstr("directly (kexec_load: no signature is checked"));
  ASSERT_THAT(LiveUpdate(request, host.deps()).status, IsOk());
  ASSERT_TRUE(host.kexec().staged().has_value());
  EXPECT_EQ(host.kexec().staged()->direct, loader::DirectEntry::kVmlinux);
}

TEST(LiveUpdateTest, ADirectJumpThatCantBeStagedPausesNoVm) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  UpdateRequest request = host.Request();
  request.direct_jump = "bzimage";
  host.kexec().FailNextStage(
      absl::ResourceExhaustedError("no free memory of 0x1000 bytes"));
  const LiveUpdateResult result = LiveUpdate(request, host.deps());
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kResourceExhausted,
                                      HasSubstr("no free memory")));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_FALSE(host.kexec().staged().has_value());
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(PrepareTest, DoesAllButThePauseAndTakesItBack) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  UpdateRequest request = host.Request();
  request.prepare_only = true;
  std::vector<Phase> entered;
  host.deps().entered = [&](Phase phase) {
    entered.push_back(phase);
    return absl::OkStatus();
  };
  const LiveUpdateResult result = LiveUpdate(request, host.deps());
  EXPECT_THAT(result.status, IsOk());
  EXPECT_EQ(result.report.result(), UpdateReport::PREPARED)
      << result.report.DebugString();
  EXPECT_THAT(result.report.failed_phase(), IsEmpty());
  EXPECT_THAT(entered, ElementsAre(Phase::kPrepare));
  EXPECT_EQ(host.kexec().stage_count(), 1);
  EXPECT_FALSE(host.kexec().staged().has_value());
  EXPECT_FALSE(host.kexec().jumped());
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
  EXPECT_FALSE(ReadJournal(host.deps().paths.run_dir)->has_value());
}

TEST(PrepareTest, WhatFailsIsToldAsOfAnUpdate) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.kexec().FailNextStage(absl::PermissionDeniedError("no signature"));
  UpdateRequest request = host.Request();
  request.prepare_only = true;
  const LiveUpdateResult result = LiveUpdate(request, host.deps());
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kPermissionDenied,
                                      HasSubstr("no signature")));
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
  EXPECT_EQ(result.report.failed_phase(), "prepare");
}

TEST(PlanTest, AnUpdateHoldsToThePlanThatWasAgreedOn) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  UpdateRequest request = host.Request();
  ASSERT_OK_AND_ASSIGN(const UpdatePlan plan, PlanUpdate(request, host.deps()));
  EXPECT_EQ(PlanUpdate(request, host.deps())->plan_hash(), plan.plan_hash());
  request.plan_hash = plan.plan_hash();

  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  const LiveUpdateResult refused = LiveUpdate(request, host.deps());
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr(plan.plan_hash())));
  EXPECT_EQ(CodeOf(refused.status), "PLAN_CHANGED");
  EXPECT_TRUE(refused.no_go);
  EXPECT_FALSE(host.kexec().jumped());
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);

  ASSERT_OK_AND_ASSIGN(const UpdatePlan second,
                       PlanUpdate(host.Request(), host.deps()));
  request.plan_hash = second.plan_hash();
  request.update_id = "chosen-by-the-caller";
  EXPECT_THAT(LiveUpdate(request, host.deps()).status, IsOk());
  host.Kexec(/*seconds=*/7);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.update_id(), "chosen-by-the-caller");
}

TEST(PlanTest, TheBlackoutIsPredictedFromThisHostsUpdates) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  UpdateRequest request = host.Request();
  request.max_blackout_s = 5;
  // Nothing to predict it from.
  EXPECT_EQ(CodeOf(LiveUpdate(request, host.deps()).status), "BLACKOUT_BUDGET");
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(/*seconds=*/7);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  ASSERT_THAT(WriteReport(host.deps().paths.state_dir, report), IsOk());

  ASSERT_OK_AND_ASSIGN(const UpdatePlan plan,
                       PlanUpdate(host.Request(), host.deps()));
  EXPECT_EQ(plan.predicted_blackout_s(), report.host_blackout_s());
  ASSERT_EQ(plan.vms_size(), 1);
  EXPECT_EQ(plan.vms(0).predicted_blackout_s(), report.vms(0).blackout_s());
  EXPECT_EQ(CodeOf(LiveUpdate(request, host.deps()).status), "BLACKOUT_BUDGET");
  request.max_blackout_s = 30;
  EXPECT_THAT(LiveUpdate(request, host.deps()).status, IsOk());
}

TEST(LiveUpdateTest, APausedVmStaysPaused) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kPaused, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kPaused);
}

TEST(LiveUpdateTest, ASecondUpdateFollowsTheFirst) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk()) << i;
    host.Kexec(1);
    ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                         RestoreAll(host.clock().Sample(), host.deps()));
    EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
    EXPECT_EQ(host.hypervisor().vm("vm1").loaded_state,
              absl::StrCat("vm1 save ", i));
    EXPECT_EQ(host.hypervisor().Memory("vm1"), kMemory);
  }
}

// Every way an update can fail before the jump: one VM's call, the kernel's
// refusal, the jump itself, a stop at each phase.
struct Failure {
  const char* name;
  void (*arrange)(FakeHost&);
};

class FailureTest : public ::testing::TestWithParam<Failure> {};

TEST_P(FailureTest, LeavesEveryVmRunningAndNothingBehind) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm3", VmState::kPaused, kMemory);
  GetParam().arrange(host);

  const LiveUpdateResult result = LiveUpdate(host.Request(), host.deps());
  EXPECT_THAT(result.status,
              StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  EXPECT_FALSE(result.no_go);
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED)
      << result.report.DebugString();
  EXPECT_THAT(result.report.reason(), HasSubstr("injected"));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().vm("vm2").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().vm("vm3").info.state, VmState::kPaused);
  EXPECT_FALSE(host.hypervisor().vm("vm1").save_pending);
  EXPECT_FALSE(*host.kexec().IsStaged());
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto journal,
                       ReadJournal(host.deps().paths.run_dir));
  EXPECT_FALSE(journal.has_value());

  // And it works when tried again.
  host.StopFailing();
  EXPECT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
}

const absl::Status kInjected = absl::InternalError("injected");

INSTANTIATE_TEST_SUITE_P(
    BeforeTheJump, FailureTest,
    ::testing::Values(
        Failure{"Describe",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("Describe", "vm2", kInjected);
                }},
        Failure{"Stage",
                [](FakeHost& host) { host.kexec().FailNextStage(kInjected); }},
        Failure{"Pause",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("Pause", "vm2", kInjected);
                }},
        Failure{"Save",
                [](FakeHost& host) {
                  host.hypervisor().FailNext("Save", "vm2", kInjected);
                }},
        Failure{"Jump",
                [](FakeHost& host) { host.kexec().FailNextJump(kInjected); }},
        Failure{"EnterPrepare",
                [](FakeHost& host) { host.FailOn(Phase::kPrepare); }},
        Failure{"EnterPause",
                [](FakeHost& host) { host.FailOn(Phase::kPause); }},
        Failure{"EnterSave", [](FakeHost& host) { host.FailOn(Phase::kSave); }},
        Failure{"EnterCommit",
                [](FakeHost& host) { host.FailOn(Phase::kCommit); }},
        Failure{"EnterJump",
                [](FakeHost& host) { host.FailOn(Phase::kJump); }}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// A process that is killed undoes nothing itself; the next one does.
class KilledTest : public ::testing::TestWithParam<Phase> {};

TEST_P(KilledTest, AnAbortTakesItBack) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kPaused, kMemory);
  EXPECT_DEATH(
      {
        host.DieOn(GetParam());
        (void)LiveUpdate(host.Request(), host.deps());
      },
      "");
  // The fake VMs of the child died with it: put ours where its were.
  if (GetParam() > Phase::kPause) {
    ASSERT_THAT(host.hypervisor().Pause(host.hypervisor().vm("vm1").info.ref,
                                        absl::InfiniteFuture()),
                IsOk());
  }

  EXPECT_THAT(UndoInterruptedUpdate(host.deps()), IsOk());
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().vm("vm2").info.state, VmState::kPaused);
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
  host.Kexec(1);  // And what it had committed is not restored by a later boot.
  EXPECT_THAT(RestoreAll(host.clock().Sample(), host.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
}

INSTANTIATE_TEST_SUITE_P(AtEachPhase, KilledTest,
                         ::testing::Values(Phase::kPrepare, Phase::kPause,
                                           Phase::kSave, Phase::kCommit,
                                           Phase::kJump),
                         [](const auto& param_info) {
                           return std::string(PhaseName(param_info.param));
                         });

TEST(LiveUpdateTest, TheInstalledQemuIsAskedForEachVm) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("off", VmState::kOff, kMemory);
  host.hypervisor().FailNext("CheckInstalledQemu", "vm2", kInjected);
  std::map<std::string, absl::Status> asked;
  host.deps().evaluate = [&asked](const PreflightInput& input) {
    for (const ExaminedVm& vm : input.vms) {
      asked[vm.info.ref.name] = vm.installed_qemu;
    }
    return CheckReport();
  };
  ASSERT_THAT(CheckHost(host.Request(), host.deps()).status(), IsOk());
  EXPECT_THAT(asked, ElementsAre(Pair("off", IsOk()), Pair("vm1", IsOk()),
                                 Pair("vm2", kInjected)));
}

TEST(LiveUpdateTest, ANewcomerStopsTheUpdate) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.OnEntering(Phase::kPause, [&host] {
    host.hypervisor().AddVm("late", VmState::kRunning, kMemory);
  });
  const LiveUpdateResult result = LiveUpdate(host.Request(), host.deps());
  EXPECT_THAT(result.status,
              StatusIs(absl::StatusCode::kAborted, HasSubstr("late")));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
}

TEST(LiveUpdateTest, AVmWhoseQemuDiesIsNamedAndTheOthersRun) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  host.hypervisor().FailNext("Save", "vm2", kInjected);
  host.hypervisor().FailNext("Resume", "vm2",
                             absl::NotFoundError("no process"));
  const LiveUpdateResult result = LiveUpdate(host.Request(), host.deps());
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
  EXPECT_THAT(result.report.reason(), HasSubstr("vm2: its QEMU is gone"));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
}

TEST(LiveUpdateTest, AVmThatCantBeResumedIsReported) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().FailNext("Save", "vm1", kInjected);
  host.hypervisor().FailNext("Resume", "vm1",
                             absl::DeadlineExceededError("QEMU is silent"));
  const LiveUpdateResult result = LiveUpdate(host.Request(), host.deps());
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_RESUME);
  EXPECT_THAT(result.report.reason(), HasSubstr("vm1: QEMU is silent"));
  // The next start of the program tries again.
  EXPECT_THAT(UndoInterruptedUpdate(host.deps()), IsOk());
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
}

// Preserved memory on a file system that hangs from a moment on.
class HangingMemory final : public PreservedMemory {
 public:
  explicit HangingMemory(PreservedMemory* real) : real_(real) {}
  ~HangingMemory() override { Mend(); }
  void HangAtFlush() { flush_hangs_ = true; }
  void HangAtDiscard() { discard_hangs_ = true; }
  void Mend() {
    if (!mended_->HasBeenNotified()) mended_->Notify();
  }

  absl::string_view backend() const override { return real_->backend(); }
  absl::StatusOr<std::unique_ptr<OutgoingPreservation>> Begin(
      absl::string_view update_id) override {
    LU_ASSIGN_OR_RETURN(auto outgoing, real_->Begin(update_id));
    return std::make_unique<Outgoing>(std::move(outgoing), flush_hangs_,
                                      mended_);
  }
  absl::Status DiscardStaleOutgoing() override {
    if (!discard_hangs_) return real_->DiscardStaleOutgoing();
    const auto mended = mended_;  // `this` may be gone when it is.
    mended->WaitForNotification();
    return absl::OkStatus();
  }
  absl::StatusOr<bool> HasHandover() override { return real_->HasHandover(); }
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> Retrieve() override {
    return real_->Retrieve();
  }
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> RetrieveInThisBoot(
      absl::string_view update_id) override {
    return real_->RetrieveInThisBoot(update_id);
  }
  absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
  Unfinished() override {
    return real_->Unfinished();
  }
  absl::StatusOr<uint64_t> CollectGarbage() override {
    return real_->CollectGarbage();
  }
  absl::StatusOr<uint64_t> FreeBytes() override { return real_->FreeBytes(); }

 private:
  class Outgoing final : public OutgoingPreservation {
   public:
    Outgoing(std::unique_ptr<OutgoingPreservation> real, bool hangs,
             std::shared_ptr<absl::Notification> mended)
        : real_(std::move(real)), hangs_(hangs), mended_(std::move(mended)) {}
    absl::StatusOr<PreservedRam> PreserveRam(absl::string_view vm_uuid,
                                             absl::string_view block,
                                             const UniqueFd& fd) override {
      return real_->PreserveRam(vm_uuid, block, fd);
    }
    absl::StatusOr<absl::Span<uint8_t>> ReserveStateArea(
        uint64_t size_bytes) override {
      return real_->ReserveStateArea(size_bytes);
    }
    absl::Status Flush() override {
      if (hangs_) mended_->WaitForNotification();
      return real_->Flush();
    }
    absl::Status Unpreserve() override { return real_->Unpreserve(); }

   private:
    const std::unique_ptr<OutgoingPreservation> real_;
    const bool hangs_;
    const std::shared_ptr<absl::Notification> mended_;
  };

  PreservedMemory* const real_;
  bool flush_hangs_ = false;
  bool discard_hangs_ = false;
  const std::shared_ptr<absl::Notification> mended_ =
      std::make_shared<absl::Notification>();
};

TEST(LiveUpdateTest, APreservedFileSystemThatHangsTakesTheUpdateBack) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  HangingMemory memory(host.deps().memory);
  memory.HangAtFlush();
  host.deps().memory = &memory;
  host.deps().limits.sync = absl::Seconds(1);
  const LiveUpdateResult result = LiveUpdate(host.Request(), host.deps());
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                      HasSubstr("syncfs")));
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_FALSE(host.kexec().jumped());
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(LiveUpdateTest, AHandoverThatCantBeRevokedDoesNotKeepVmsPaused) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  auto memory = std::make_unique<HangingMemory>(host.deps().memory);
  host.deps().memory = memory.get();
  host.OnEntering(Phase::kJump, [&] {
    memory->HangAtDiscard();
    host.deps().limits.sync = absl::Milliseconds(50);
  });
  host.FailOn(Phase::kJump);
  const LiveUpdateResult result = LiveUpdate(host.Request(), host.deps());
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_THAT(result.report.reason(), HasSubstr("don't kexec this host"));
  // It is not forgotten: the journal is there for `abort`.
  ASSERT_OK_AND_ASSIGN(const auto journal,
                       ReadJournal(host.deps().paths.run_dir));
  EXPECT_TRUE(journal.has_value());
}

TEST(RestoreTest, OneVmsFailureDoesNotHoldUpAnotherAndARetryBringsItBack) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.hypervisor().FailNext("Restore", "vm2", kInjected);
  ASSERT_OK_AND_ASSIGN(UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(report.vms(1).result(), VmReport::NOT_RESTORED);
  EXPECT_EQ(report.vms(1).reason(), "injected");
  EXPECT_THAT(report.vms(1).next_step(), HasSubstr("restore --retry vm2"));
  // A plain restore has nothing new to do, and says who waits.
  EXPECT_THAT(RestoreAll(host.clock().Sample(), host.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("1 VMs")));

  ASSERT_OK_AND_ASSIGN(report, RetryVm("vm2", host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().vm("vm2").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().Memory("vm2"), kMemory);
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(RestoreTest, AVmThatLibvirtLeftInTheMiddleIsTriedOnceMore) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.hypervisor().FailNext("Restore", "vm2",
                             absl::UnavailableError("client socket is closed"));
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().Memory("vm2"), kMemory);
  EXPECT_THAT(report.vms(1).ram_proof(),
              SizeIs(report.vms(0).ram_proof_size()));
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(RestoreTest, ALibvirtThatIsGoneTwiceLeavesTheVmToARetry) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  const absl::Status gone = absl::UnavailableError("client socket is closed");
  host.hypervisor().FailNext("Restore", "vm1", gone, /*times=*/2);
  ASSERT_OK_AND_ASSIGN(UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.vms(0).result(), VmReport::NOT_RESTORED);
  ASSERT_OK_AND_ASSIGN(report, RetryVm("vm1", host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().Memory("vm1"), kMemory);
}

TEST(RestoreTest, ARetryBeforeTheFirstTrySaysWhatComesFirst) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(/*seconds=*/7);
  EXPECT_THAT(
      RetryVm("vm1", host.deps()),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("restore` comes first")));
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
}

TEST(RestoreTest, WhatAKilledRestorerLeftIsEndedFirst) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.hypervisor().AbandonRestore("vm1");
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(host.hypervisor().Memory("vm1"), kMemory);
}

// The end of the host while its VMs are on their way back, at a `call` to the
// hypervisor for one of them.
void DieWhileRestoring(FakeHost& host, const std::string& call,
                       const std::string& vm) {
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  // The fake's VMs are this process's, so it is another that is cut off: it
  // does all that comes before the call, and nothing after it.
  ASSERT_EXIT(
      {
        host.hypervisor().OnCall(call, vm, [] { _exit(0); });
        host.deps().parallelism = 1;
        (void)RestoreAll(host.clock().Sample(), host.deps());
        _exit(1);
      },
      ::testing::ExitedWithCode(0), "");
  host.Kexec(1);
}

TEST(RestoreTest, AVmThatRanOnWhenTheHostWentDownIsLostAndNeverRestored) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  host.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
  DieWhileRestoring(host, "LetRun", "vm1");
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL) << report.DebugString();
  EXPECT_EQ(report.vms(0).result(), VmReport::NOT_RESTORED);
  EXPECT_TRUE(report.vms(0).lost());
  EXPECT_THAT(report.vms(0).reason(),
              AllOf(HasSubstr("it ran on in kernel"),
                    HasSubstr("that kernel went down"), HasSubstr("stale")));
  EXPECT_THAT(report.vms(0).next_step(),
              AllOf(HasSubstr("restore --discard vm1"),
                    HasSubstr("virsh start vm1"), Not(HasSubstr("--retry"))));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kOff);
  EXPECT_EQ(report.vms(1).result(), VmReport::RESTORED);
  EXPECT_EQ(host.hypervisor().Memory("vm2"), kMemory);

  // Not by a retry either, whenever it is given.
  ASSERT_OK_AND_ASSIGN(const UpdateReport again, RetryVm("vm1", host.deps()));
  EXPECT_EQ(again.vms(0).result(), VmReport::NOT_RESTORED);
  EXPECT_TRUE(again.vms(0).lost());
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kOff);
  EXPECT_THAT(DiscardVm("vm1", host.deps()), IsOk());
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(RestoreTest, AVmThatHadNotRunWhenTheHostWentDownIsRestored) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  DieWhileRestoring(host, "Restore", "vm1");
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host.hypervisor().Memory("vm1"), kMemory);
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

// All of it settled, but the set not finished: what is left of such a VM is
// nothing, and so it is said.
TEST(RestoreTest, AVmThatWasSettledWhenTheHostWentDownIsLost) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  const std::string counter =
      absl::StrCat(host.deps().paths.state_dir, "/", kRestoredCounter);
  host.OnEntering(Phase::kResume, [&counter] {
    std::filesystem::create_directories(counter + "/in-the-way");
  });
  EXPECT_FALSE(RestoreAll(host.clock().Sample(), host.deps()).ok());
  std::filesystem::remove_all(counter);
  host.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_TRUE(report.vms(0).lost()) << report.DebugString();
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("it ran on in kernel"));
  EXPECT_THAT(report.vms(0).next_step(), HasSubstr("virsh start vm1"));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kOff);
}

TEST(RestoreTest, AVmThatCertainlyDidNotRunMayBeRetried) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.hypervisor().FailNext("LetRun", "vm1", kInjected);
  ASSERT_OK_AND_ASSIGN(UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_FALSE(report.vms(0).lost());
  EXPECT_THAT(report.vms(0).next_step(), HasSubstr("--retry vm1"));
  ASSERT_OK_AND_ASSIGN(report, RetryVm("vm1", host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
}

TEST(RestoreTest, AVmThatMayHaveRunIsLost) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.hypervisor().FailNext("LetRun", "vm1", absl::AbortedError("it ran"));
  ASSERT_OK_AND_ASSIGN(UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_TRUE(report.vms(0).lost());
  EXPECT_THAT(report.vms(0).next_step(), HasSubstr("--discard vm1"));
  ASSERT_OK_AND_ASSIGN(report, RetryVm("vm1", host.deps()));
  EXPECT_TRUE(report.vms(0).lost());
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("its QEMU has ended since"));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kOff);
}

TEST(RestoreTest, AVmThatCantBeMarkedIsNotLetRun) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  // Something else has the name of the folder of marks.
  host.hypervisor().OnCall("Restore", "vm1", [&host] {
    for (const std::string& file : host.LeftInPreservedMemory()) {
      const size_t end = file.rfind("/ram/");
      if (end != std::string::npos) {
        std::ofstream(file.substr(0, end) + "/resumed") << "in the way";
      }
    }
  });
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.vms(0).result(), VmReport::NOT_RESTORED);
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("it is not let run"));
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kOff);
  EXPECT_FALSE(report.vms(0).lost());
}

// Killed between the restore and the VM's being told to run, the host alive.
TEST(RestoreTest, AVmThatWasLeftPausedByAKilledRestorerIsLetRun) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  // One that is not settled is looked at again.
  host.hypervisor().FailNext("Examine", "vm1", kInjected);
  ASSERT_THAT(RestoreAll(host.clock().Sample(), host.deps()), IsOk());
  host.hypervisor().MutableVm("vm1").info.state = VmState::kPaused;
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, RetryVm("vm1", host.deps()));
  EXPECT_EQ(report.vms(0).result(), VmReport::RESTORED);
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
}

TEST(RestoreTest, ADiscardedVmIsGivenUp) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.hypervisor().FailNext("Restore", "vm1", kInjected);
  ASSERT_THAT(RestoreAll(host.clock().Sample(), host.deps()), IsOk());
  EXPECT_THAT(DiscardVm("vm1", host.deps()), IsOk());
  EXPECT_THAT(host.LeftInPreservedMemory(), IsEmpty());
  EXPECT_THAT(RetryVm("vm1", host.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("vm1")));
}

TEST(RestoreTest, ATornHandoverStartsNoVmAndKeepsEverything) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  host.FlipHandoverByte(/*offset=*/16);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host.clock().Sample(), host.deps()));
  EXPECT_EQ(report.result(), UpdateReport::HANDOVER_REFUSED);
  EXPECT_EQ(host.hypervisor().vm("vm1").info.state, VmState::kOff);
  EXPECT_FALSE(host.LeftInPreservedMemory().empty());
}

TEST(RestoreTest, AutostartIsHeldAndGivenBack) {
  FakeHost host;
  host.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
  ASSERT_THAT(LiveUpdate(host.Request(), host.deps()).status, IsOk());
  host.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const bool held, HoldAutostart(host.deps()));
  EXPECT_TRUE(held);
  EXPECT_TRUE(std::filesystem::exists(host.deps().paths.autostarted_file));
  ASSERT_THAT(RestoreAll(host.clock().Sample(), host.deps()), IsOk());
  ASSERT_OK_AND_ASSIGN(const bool again, HoldAutostart(host.deps()));
  EXPECT_FALSE(again);
}

TEST(RestoreTest, WithoutAHandoverItDoesNothing) {
  FakeHost host;
  EXPECT_THAT(RestoreAll(host.clock().Sample(), host.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
}

}  // namespace
}  // namespace live_update
