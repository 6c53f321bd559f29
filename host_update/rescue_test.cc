#include "host_update/rescue.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/live_update.h"
#include "host_update/report/report_text.h"
#include "host_update/rescue_watchdog.h"
#include "host_update/restore.h"
#include "host_update/undo.h"
#include "testing/fake_crash_kexec.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeCrashKexec;
using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMemory[] = "what the guest had in its memory";

class RescueTest : public ::testing::Test {
 protected:
  RescueTest() {
    host_.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
    host_.deps().crash_kexec = &crash_;
    Write("/boot/vmlinuz-6.1.0-0", "");
    Write("/boot/initrd.img-6.1.0-0", "");
    for (const char* name : {"panic_on_oops", "hung_task_panic"}) {
      Write(absl::StrCat("/sysctl/", name), "0\n");
    }
    host_.deps().paths.root = root_;
    host_.deps().paths.sysctl_dir = root_ + "/sysctl";
    host_.deps().paths.sysrq_trigger = root_ + "/sysrq-trigger";
    Write("/sysrq-trigger", "");
    request_ = host_.Request();
    request_.rescue = true;
    SetCommandLine("root=/dev/vda memmap=2G!4G crashkernel=1G");
  }
  ~RescueTest() override {
    EXPECT_THAT(EndForcedCrashes(host_.deps()), IsOk());
    std::filesystem::remove_all(root_);
  }

  void Write(const std::string& path, const std::string& contents) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << contents;
  }
  std::string Read(const std::string& path) {
    std::string line;
    std::ifstream file(root_ + path);
    std::getline(file, line);
    return line;
  }
  void SetCommandLine(const std::string& line) {
    auto facts = host_.deps().host_facts;
    if (plain_facts_ == nullptr) plain_facts_ = facts;
    host_.deps().host_facts = [plain = plain_facts_,
                               line]() -> absl::StatusOr<HostFacts> {
      LU_ASSIGN_OR_RETURN(HostFacts host, plain());
      host.command_line = line;
      host.early_restore_installed = true;
      return host;
    };
  }
  std::optional<Finding> Check() {
    absl::StatusOr<CheckedHost> checked = CheckHost(request_, host_.deps());
    EXPECT_THAT(checked.status(), IsOk());
    for (const Finding& finding : checked->report.findings()) {
      if (finding.code() == "RESCUE") return finding;
    }
    return std::nullopt;
  }
  void Jump() {
    ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
    host_.Kexec(7);
    // A kernel's own folder stands for the old one's files.
    host_.deps().paths.root = root_;
  }
  UpdateReport Restore() {
    const auto report = RestoreAll(host_.clock().Sample(), host_.deps());
    EXPECT_THAT(report.status(), IsOk());
    return report.value_or(UpdateReport());
  }

  FakeHost host_;
  FakeCrashKexec crash_;
  const std::string root_ = ::testing::TempDir() + "/rescue-root";
  std::function<absl::StatusOr<HostFacts>()> plain_facts_;
  UpdateRequest request_;
};

TEST_F(RescueTest, TheOldKernelIsStagedForACrashUntilVmsRun) {
  Jump();
  EXPECT_THAT(ArmRescue(host_.deps()), IsOk());
  ASSERT_TRUE(crash_.staged.has_value());
  EXPECT_THAT(*crash_.staged,
              AllOf(HasSubstr("memmap=2G!4G"), HasSubstr("host_update.jump"),
                    HasSubstr("systemd.unit=host-update-early.target"),
                    HasSubstr("host_update.rescue="), HasSubstr("panic="),
                    Not(HasSubstr("crashkernel="))));
  EXPECT_EQ(Read("/sysctl/panic_on_oops"), "1");
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_TRUE(report.rescue().armed());
  EXPECT_EQ(report.rescue().kernel(), "6.1.0-0");
  EXPECT_GE(report.rescue().covered_s(), 0);
  EXPECT_GT(report.rescue().new_kernel_s(), report.rescue().covered_s());
  EXPECT_THAT(ReportText(report),
              HasSubstr("would have led back into 6.1.0-0"));
  EXPECT_FALSE(crash_.staged.has_value());
  EXPECT_EQ(Read("/sysctl/panic_on_oops"), "0");
  EXPECT_EQ(Read("/sysctl/hung_task_panic"), "0");
  // For this one update.
  EXPECT_THAT(ArmRescue(host_.deps()),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(RescueTest, ARescueRestoresAndSaysSo) {
  Jump();
  EXPECT_THAT(ArmRescue(host_.deps()), IsOk());
  host_.Kexec(5);
  SetCommandLine("memmap=2G!4G host_update.jump host_update.rescue=6.1.0-1");
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(report.rescue().crashed_kernel(), "6.1.0-1");
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), kMemory);
  EXPECT_THAT(ReportText(report), HasSubstr("RESCUE: 6.1.0-1 crashed"));
  // It knows too little memory to update from.
  const std::optional<Finding> finding = Check();
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->severity(), Finding::ERROR);
  EXPECT_THAT(finding->remedy(), HasSubstr("cold"));
}

TEST_F(RescueTest, ARestoreThatDoesNotComeIsEndedByACrash) {
  request_.rescue_watchdog_s = 0.2;
  Jump();
  EXPECT_THAT(ArmRescue(host_.deps()), IsOk());
  for (int i = 0; i < 6000 && Read("/sysrq-trigger").empty(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(Read("/sysrq-trigger"), "c");
}

TEST_F(RescueTest, IsArmedBeforeItsFolderIsMade) {
  Jump();
  std::filesystem::remove_all(host_.deps().paths.run_dir);
  EXPECT_THAT(ArmRescue(host_.deps()), IsOk());
  EXPECT_EQ(Restore().rescue().watchdog_s(), 360);
}

TEST_F(RescueTest, OnceAVmMayRunAHangCrashesNothing) {
  request_.rescue_watchdog_s = 0.5;
  Jump();
  EXPECT_THAT(ArmRescue(host_.deps()), IsOk());
  EXPECT_EQ(Read("/sysctl/hung_task_panic"), "1");
  EXPECT_THAT(EndForcedCrashes(host_.deps()), IsOk());
  EXPECT_EQ(Read("/sysctl/hung_task_panic"), "0");
  EXPECT_TRUE(crash_.staged.has_value());  // For a crash of the kernel's own.
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(Read("/sysrq-trigger"), "");
}

TEST_F(RescueTest, ARestoreStopsTheWatchdog) {
  Jump();
  EXPECT_THAT(ArmRescue(host_.deps()), IsOk());
  const UpdateReport report = Restore();
  EXPECT_EQ(report.rescue().watchdog_s(), 360);
  EXPECT_THAT(ReportText(report), HasSubstr("so would a hang of 360 s"));
  // It is gone, for another one can begin.
  const std::string lock = host_.deps().paths.run_dir + "/rescue-watchdog";
  EXPECT_THAT(StartRescueWatchdog(lock, absl::Hours(1),
                                  host_.deps().paths.sysrq_trigger),
              IsOk());
  EXPECT_THAT(StopRescueWatchdog(lock), IsOk());
}

TEST_F(RescueTest, AnothersCrashKernelIsLeftAlone) {
  Jump();
  crash_.staged = "kdump's";
  EXPECT_THAT(ArmRescue(host_.deps()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("kdump")));
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED);
  EXPECT_FALSE(report.rescue().armed());
  EXPECT_THAT(ReportText(report), HasSubstr("no rescue kernel: "));
  EXPECT_EQ(crash_.staged, "kdump's");
  EXPECT_EQ(Read("/sysctl/panic_on_oops"), "0");
}

TEST_F(RescueTest, WithoutRoomTheRestoreGoesOn) {
  Jump();
  crash_.reserved_bytes = 0;
  EXPECT_THAT(ArmRescue(host_.deps()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("crashkernel=")));
  EXPECT_EQ(Restore().result(), UpdateReport::UPDATED);
}

TEST_F(RescueTest, TheCheckAsksForRoomAndForTheRunningKernel) {
  std::optional<Finding> finding = Check();
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->severity(), Finding::OK) << finding->message();
  SetCommandLine("memmap=2G!4G");
  finding = Check();
  EXPECT_EQ(finding->severity(), Finding::ERROR);
  EXPECT_THAT(finding->remedy(), HasSubstr("--append crashkernel="));
  EXPECT_FALSE(LiveUpdate(request_, host_.deps()).status.ok());
  EXPECT_EQ(host_.hypervisor().vm("vm1").info.state, VmState::kRunning);
  SetCommandLine("memmap=2G!4G crashkernel=1G");
  std::filesystem::remove(root_ + "/boot/initrd.img-6.1.0-0");
  finding = Check();
  EXPECT_EQ(finding->severity(), Finding::ERROR);
  EXPECT_THAT(finding->message(), HasSubstr("initrd.img-6.1.0-0"));
  request_.rescue = false;
  EXPECT_FALSE(Check().has_value());
}

TEST_F(RescueTest, WithLuoThereIsNone) {
  request_.backend = "luo";
  const std::optional<Finding> finding = Check();
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->severity(), Finding::WARNING);
  EXPECT_THAT(finding->message(), HasSubstr("no rescue with luo"));
}

TEST_F(RescueTest, AnUpdateThatIsTakenBackLeavesNoNote) {
  host_.FailOn(Phase::kCommit);
  EXPECT_FALSE(LiveUpdate(request_, host_.deps()).status.ok());
  EXPECT_FALSE(
      std::filesystem::exists(host_.deps().paths.state_dir + "/rescue"));
}

}  // namespace
}  // namespace live_update
