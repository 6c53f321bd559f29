// What guests are told, and their wall clocks, over a whole update.

#include "host_update/guests.h"

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/live_update.h"
#include "host_update/report/report_text.h"
#include "host_update/restore.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class GuestsTest : public ::testing::Test {
 protected:
  absl::Time HostNow() {
    return absl::FromUnixNanos(host_.clock().Sample().realtime_ns());
  }

  // A running guest whose agent answers and whose clock is right.
  void AddGuest(const std::string& name) {
    host_.hypervisor().AddVm(name, VmState::kRunning, "memory");
    host_.hypervisor().SetAgent(name, HostNow());
  }

  // An update of 7 s.
  UpdateReport Update(const UpdateRequest& request) {
    EXPECT_THAT(LiveUpdate(request, host_.deps()).status, IsOk());
    host_.Kexec(/*seconds=*/7);
    absl::StatusOr<UpdateReport> report =
        RestoreAll(host_.clock().Sample(), host_.deps());
    EXPECT_THAT(report.status(), IsOk());
    return report.ok() ? *std::move(report) : UpdateReport();
  }

  FakeHost host_;
};

TEST_F(GuestsTest, TheWallClockIsSetToTheHosts) {
  AddGuest("vm1");
  const UpdateReport report = Update(host_.Request());
  const VmReport& vm = report.vms(0);
  EXPECT_EQ(vm.guest_clock(), "set") << report.DebugString();
  EXPECT_EQ(vm.guest_agent(), "answered");
  EXPECT_GT(vm.guest_clock_lag_s(), 7);
  EXPECT_LT(vm.guest_clock_lag_s(), 8);
  // The host's, which was put right before: not what the RTC said.
  EXPECT_LT(
      absl::AbsDuration(HostNow() - *host_.hypervisor().vm("vm1").guest_time),
      absl::Milliseconds(200));
  EXPECT_THAT(ReportText(report), HasSubstr("guest clock set: it was 7."));
}

TEST_F(GuestsTest, AGuestWithoutAnAgentIsReportedAsLagging) {
  host_.hypervisor().AddVm("vm1", VmState::kRunning, "memory");
  const UpdateReport report = Update(host_.Request());
  const VmReport& vm = report.vms(0);
  EXPECT_EQ(vm.guest_clock(), "lagging");
  EXPECT_THAT(vm.guest_agent(), HasSubstr("no guest agent is configured"));
  EXPECT_EQ(vm.guest_clock_lag_s(), vm.blackout_s());
  EXPECT_THAT(vm.guest_told(), IsEmpty());
  EXPECT_THAT(ReportText(report), HasSubstr("guest clock lags by 7."));
}

TEST_F(GuestsTest, AClockThatCantBeSetIsReportedAsLagging) {
  AddGuest("vm1");
  host_.hypervisor().FailNext("SetGuestTime", "vm1",
                              absl::InternalError("not permitted"));
  const UpdateReport report = Update(host_.Request());
  EXPECT_EQ(report.result(), UpdateReport::UPDATED);
  EXPECT_EQ(report.vms(0).guest_clock(), "lagging");
  EXPECT_THAT(report.vms(0).guest_agent(), HasSubstr("not permitted"));
}

TEST_F(GuestsTest, AnAgentHasTimeToSetTheHardwareClockToo) {
  AddGuest("vm1");
  host_.hypervisor().MutableVm("vm1").guest_set_time_takes = absl::Seconds(20);
  EXPECT_EQ(Update(host_.Request()).vms(0).guest_clock(), "set");
}

TEST_F(GuestsTest, AnAgentThatSetsNoClockInTimeIsReported) {
  AddGuest("vm1");
  host_.hypervisor().MutableVm("vm1").guest_set_time_takes = absl::Minutes(1);
  const UpdateReport report = Update(host_.Request());
  EXPECT_EQ(report.vms(0).guest_clock(), "lagging");
  EXPECT_THAT(report.vms(0).guest_agent(), HasSubstr("did not respond"));
}

TEST_F(GuestsTest, AClockThatIsAheadIsNotSetBack) {
  AddGuest("vm1");
  const absl::Time ahead = HostNow() + absl::Hours(2);
  host_.hypervisor().SetAgent("vm1", ahead);
  const UpdateReport report = Update(host_.Request());
  EXPECT_EQ(report.vms(0).guest_clock(), "right");
  EXPECT_LT(report.vms(0).guest_clock_lag_s(), -3600);
  EXPECT_EQ(host_.hypervisor().vm("vm1").guest_time, ahead);
}

TEST_F(GuestsTest, AClockIsLeftWhereThatIsAsked) {
  AddGuest("vm1");
  const auto before = host_.hypervisor().vm("vm1").guest_time;
  UpdateRequest request = host_.Request();
  request.leave_guest_clocks = true;
  const UpdateReport report = Update(request);
  EXPECT_EQ(report.vms(0).guest_clock(), "left");
  EXPECT_EQ(report.vms(0).guest_clock_lag_s(), report.vms(0).blackout_s());
  EXPECT_EQ(host_.hypervisor().vm("vm1").guest_time, before);
}

TEST_F(GuestsTest, APausedGuestIsAskedNothing) {
  host_.hypervisor().AddVm("vm1", VmState::kPaused, "memory");
  host_.hypervisor().SetAgent("vm1", HostNow());
  const UpdateReport report = Update(host_.Request());
  EXPECT_EQ(report.vms(0).guest_clock(), "lagging");
  EXPECT_EQ(report.vms(0).guest_agent(), "the VM is paused");
  EXPECT_THAT(host_.hypervisor().vm("vm1").guest_hooks, IsEmpty());
}

TEST_F(GuestsTest, AnAgentThatIsBackAMomentLaterIsWaitedFor) {
  AddGuest("vm1");
  host_.hypervisor().FailNext("GuestTime", "vm1",
                              absl::UnavailableError("not connected"));
  EXPECT_EQ(Update(host_.Request()).vms(0).guest_clock(), "set");
}

TEST_F(GuestsTest, AreToldBeforeThePauseAndAfterTheResume) {
  AddGuest("vm1");
  host_.OnEntering(Phase::kPause, [this] {
    EXPECT_THAT(host_.hypervisor().vm("vm1").guest_hooks,
                ElementsAre("notify"));
  });
  const UpdateReport report = Update(host_.Request());
  EXPECT_THAT(host_.hypervisor().vm("vm1").guest_hooks,
              ElementsAre("notify", "resumed"));
  EXPECT_THAT(report.vms(0).guest_told(), ElementsAre("notify", "resumed"));
}

TEST_F(GuestsTest, AreToldWhenAnUpdateIsTakenBack) {
  AddGuest("vm1");
  host_.hypervisor().AddVm("vm2", VmState::kRunning, "memory");
  host_.hypervisor().FailNext("Save", "vm2", absl::InternalError("injected"));
  EXPECT_FALSE(LiveUpdate(host_.Request(), host_.deps()).status.ok());
  EXPECT_THAT(host_.hypervisor().vm("vm1").guest_hooks,
              ElementsAre("notify", "resumed"));
}

TEST_F(GuestsTest, OneWithoutAHookStillHasItsClockSet) {
  AddGuest("vm1");
  host_.hypervisor().FailNext("RunGuestHook", "vm1",
                              absl::NotFoundError("no such file"));
  const UpdateReport report = Update(host_.Request());
  EXPECT_EQ(report.vms(0).guest_clock(), "set");
  EXPECT_THAT(report.vms(0).guest_told(), ElementsAre("resumed"));
}

TEST_F(GuestsTest, ARetriedVmHasItsClockSet) {
  AddGuest("vm1");
  host_.hypervisor().FailNext("Restore", "vm1", absl::InternalError("no"));
  EXPECT_EQ(Update(host_.Request()).result(), UpdateReport::PARTIAL);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, RetryVm("vm1", host_.deps()));
  EXPECT_EQ(report.vms(0).guest_clock(), "set") << report.DebugString();
}

}  // namespace
}  // namespace live_update
