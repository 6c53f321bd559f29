#include "host_update/hardware_watchdog.h"

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "host_update/undo.h"
#include "testing/fake_host.h"
#include "testing/fake_watchdog_device.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::FakeWatchdogDevice;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMemory[] = "what the guest had in its memory";

class HardwareWatchdogTest : public ::testing::Test {
 protected:
  HardwareWatchdogTest() {
    host_.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
    host_.deps().watchdog = &device_;
    auto plain = host_.deps().read_target;
    host_.deps().read_target = [plain,
                                this](const loader::TargetRequest& request) {
      first_boot_ = request.first_boot;
      loader::TargetKernel target = plain(request);
      target.modules = loader::ModuleSet::Parse(modules_, "");
      return target;
    };
    auto facts = host_.deps().host_facts;
    host_.deps().host_facts = [facts] {
      absl::StatusOr<HostFacts> host = facts();
      if (host.ok()) host->early_restore_installed = true;
      return host;
    };
    request_ = host_.Request();
    request_.watchdog = "/dev/watchdog7";
  }

  std::optional<Finding> Check() {
    const absl::StatusOr<CheckedHost> checked =
        CheckHost(request_, host_.deps());
    EXPECT_THAT(checked.status(), IsOk());
    for (const Finding& finding : checked->report.findings()) {
      if (finding.code() != "UPDATE_WATCHDOG") continue;
      if (finding.severity() == Finding::ERROR) {
        EXPECT_FALSE(checked->report.go());
      }
      return finding;
    }
    return std::nullopt;
  }
  std::string Refusal() {
    const std::optional<Finding> finding = Check();
    if (!finding.has_value() || finding->severity() != Finding::ERROR) {
      return "none";
    }
    return finding->message() + " -> " + finding->remedy();
  }

  FakeHost host_;
  FakeWatchdogDevice device_;
  std::string modules_ = "a/bus.ko:\nb/fake-wdt.ko:\n";
  std::string first_boot_;
  UpdateRequest request_;
};

TEST_F(HardwareWatchdogTest, RunsFromTheJumpToTheEndOfTheRestore) {
  bool at_the_jump = false;
  host_.OnEntering(Phase::kJump, [&] { EXPECT_FALSE(device_.runs); });
  host_.kexec().OnJump([&] { at_the_jump = device_.runs; });
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  EXPECT_TRUE(at_the_jump);
  EXPECT_EQ(device_.timeout, absl::Seconds(480));
  EXPECT_THAT(first_boot_, HasSubstr(" modules_load=bus,fake_wdt"));
  host_.Kexec(7);
  const int fed = device_.fed;
  bool in_the_restore = false;
  host_.OnEntering(Phase::kResume, [&] { in_the_restore = device_.runs; });
  const auto report = RestoreAll(host_.clock().Sample(), host_.deps());
  ASSERT_THAT(report.status(), IsOk());
  EXPECT_EQ(report->result(), UpdateReport::UPDATED);
  EXPECT_GT(device_.fed, fed + 2);
  EXPECT_TRUE(in_the_restore);
  EXPECT_FALSE(device_.runs);
  // For this one update.
  EXPECT_THAT(StartHardwareWatchdog(host_.deps()), IsOk());
  EXPECT_FALSE(device_.runs);
}

TEST_F(HardwareWatchdogTest, AnUpdateThatFailsAtTheJumpStopsIt) {
  host_.kexec().FailNextJump(absl::InternalError("no jump"));
  EXPECT_THAT(LiveUpdate(request_, host_.deps()).status,
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no jump")));
  EXPECT_GT(device_.fed, 0);
  EXPECT_FALSE(device_.runs);
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), kMemory);
}

TEST_F(HardwareWatchdogTest, OneThatDoesNotStartFailsTheUpdate) {
  device_.next_start = absl::InternalError("EBUSY");
  const LiveUpdateResult result = LiveUpdate(request_, host_.deps());
  EXPECT_THAT(result.status,
              StatusIs(absl::StatusCode::kInternal, HasSubstr("EBUSY")));
  EXPECT_FALSE(host_.kexec().jumped());
  EXPECT_FALSE(host_.kexec().staged().has_value());
}

TEST_F(HardwareWatchdogTest, AProcessThatDiesAtTheJumpLeavesItToAbort) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  ASSERT_TRUE(device_.runs);  // As if it had died right before the jump.
  host_.NextProcess();
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  EXPECT_FALSE(device_.runs);
}

TEST_F(HardwareWatchdogTest, ADriverThatIsLateIsWaitedFor) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.Kexec(7);
  device_.found = false;
  host_.OnEntering(Phase::kResume, [&] { device_.found = true; });
  ASSERT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()).status(),
              IsOk());
  EXPECT_FALSE(device_.runs);
}

TEST_F(HardwareWatchdogTest, WhatCantBeStoppedIsToldAndTriedAgain) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.Kexec(7);
  device_.found = false;
  ASSERT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()).status(),
              IsOk());
  EXPECT_THAT(StopHardwareWatchdog(host_.deps()),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("fake_wdt"), HasSubstr("480 s"))));
  device_.found = true;
  EXPECT_THAT(StopHardwareWatchdog(host_.deps()), IsOk());
  EXPECT_FALSE(device_.runs);
}

TEST_F(HardwareWatchdogTest, CheckSaysWhatItIsGoodFor) {
  std::optional<Finding> finding = Check();
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->severity(), Finding::OK);
  EXPECT_THAT(finding->message(),
              AllOf(HasSubstr("fake_wdt"), HasSubstr("480 s")));
  request_.watchdog.clear();
  EXPECT_FALSE(Check().has_value());
  EXPECT_THAT(first_boot_, Not(HasSubstr("modules_load")));
}

TEST_F(HardwareWatchdogTest, CheckRefusesOneThatWouldNotDo) {
  EXPECT_EQ(Refusal(), "none");
  device_.facts->active = true;
  EXPECT_THAT(Refusal(), HasSubstr("RuntimeWatchdogSec="));
  device_.facts->active = false;
  device_.facts->stoppable = false;
  EXPECT_THAT(Refusal(), HasSubstr("nowayout=0"));
  device_.facts->stoppable = true;
  device_.facts->stays_on = false;
  EXPECT_THAT(Refusal(), HasSubstr("watchdog.stop_on_reboot=0"));
  device_.facts->stays_on = true;
  modules_ = "a/bus.ko:\n";
  EXPECT_THAT(Refusal(), HasSubstr("no module fake_wdt"));
  device_.facts = absl::NotFoundError("no such file");
  EXPECT_THAT(Refusal(), HasSubstr("load its driver"));
}

TEST_F(HardwareWatchdogTest, ARescueComesBeforeAReset) {
  request_.rescue = true;
  request_.watchdog_timeout_s = 360;
  EXPECT_THAT(Refusal(), HasSubstr("longer than rescue-watchdog"));
}

}  // namespace
}  // namespace live_update
