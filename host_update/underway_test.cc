// A host that comes up without the handover of its update says whose VMs are
// lost, once, and only if they are.

#include "host_update/underway.h"

#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/history.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

class UnderwayTest : public ::testing::TestWithParam<FakeHost::Backend> {
 protected:
  UnderwayTest() : host_(GetParam()) {
    host_.hypervisor().AddVm("vm1", VmState::kRunning, "memory of vm1");
    host_.hypervisor().AddVm("vm2", VmState::kPaused, "memory of vm2");
    host_.hypervisor().AddVm("saved", VmState::kRunning, "memory of saved");
    host_.hypervisor().AddVm("off", VmState::kOff, "");
    request_ = host_.Request();
    request_.ways = {{"saved", "managedsave"}};
  }

  absl::StatusOr<UpdateReport> Restore() {
    return RestoreAll(host_.clock().Sample(), host_.deps());
  }
  void ExpectNothingToTell() {
    EXPECT_THAT(Restore(), StatusIs(absl::StatusCode::kNotFound,
                                    HasSubstr("no handover")));
  }

  FakeHost host_;
  UpdateRequest request_;
};

TEST_P(UnderwayTest, LostVmsAreNamedOnce) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.ResetLosingMemory();
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
  EXPECT_EQ(report.result(), UpdateReport::LOST);
  EXPECT_THAT(report.reason(), HasSubstr("of 3 VMs that are off, 2 are lost"));
  EXPECT_NE(report.boot_id_before(), report.boot_id_after());
  ASSERT_EQ(report.vms_size(), 3);
  EXPECT_EQ(report.vms(0).name(), "vm1");
  EXPECT_EQ(report.vms(0).result(), VmReport::NOT_RESTORED);
  EXPECT_THAT(report.vms(0).next_step(), HasSubstr("virsh start vm1"));
  EXPECT_THAT(report.vms(1).next_step(), HasSubstr("nothing of it is kept"));
  EXPECT_THAT(report.vms(2).next_step(), HasSubstr("it was saved"));
  ASSERT_OK_AND_ASSIGN(const UpdateReport kept,
                       ReadReport(host_.deps().paths.state_dir, ""));
  EXPECT_EQ(kept.result(), UpdateReport::LOST);
  ExpectNothingToTell();
}

TEST_P(UnderwayTest, VmsThatRunAgainAreNotLost) {
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
  host_.ResetLosingMemory();
  for (const char* name : {"vm1", "vm2", "saved"}) {
    ASSERT_THAT(host_.hypervisor().Start(host_.hypervisor().vm(name).info.ref,
                                         absl::InfiniteFuture()),
                IsOk());
  }
  ExpectNothingToTell();
}

TEST_P(UnderwayTest, AnUpdateThatIsOverIsNotLost) {
  host_.FailOn(Phase::kJump);
  EXPECT_FALSE(LiveUpdate(request_, host_.deps()).status.ok());
  host_.ResetLosingMemory();
  ExpectNothingToTell();

  host_.StopFailing();
  for (const char* name : {"vm1", "vm2", "saved"}) {
    ASSERT_THAT(host_.hypervisor().Start(host_.hypervisor().vm(name).info.ref,
                                         absl::InfiniteFuture()),
                IsOk());
  }
  // Their RAM is of another kind now; without them there is an update, too.
  UpdateRequest request = request_;
  request.ways = {
      {"saved", "managedsave"}, {"vm1", "managedsave"}, {"vm2", "managedsave"}};
  ASSERT_THAT(LiveUpdate(request, host_.deps()).status, IsOk());
  host_.Kexec(/*seconds=*/1);
  ASSERT_THAT(Restore(), IsOk());
  host_.ResetLosingMemory();
  ExpectNothingToTell();
}

TEST_P(UnderwayTest, WhatIsStillInThisBootIsNotLost) {
  host_.OnEntering(Phase::kJump, [this] {
    ASSERT_OK_AND_ASSIGN(const HostFacts facts, host_.deps().host_facts());
    ASSERT_OK_AND_ASSIGN(
        const auto lost,
        FindLostUpdate(facts, {}, host_.deps().paths.state_dir));
    EXPECT_FALSE(lost.has_value());
    HostFacts other = facts;
    other.boot_id = "another";
    ASSERT_OK_AND_ASSIGN(
        const auto then,
        FindLostUpdate(other, {}, host_.deps().paths.state_dir));
    EXPECT_TRUE(then.has_value());
  });
  ASSERT_THAT(LiveUpdate(request_, host_.deps()).status, IsOk());
}

INSTANTIATE_TEST_SUITE_P(
    Backends, UnderwayTest,
    ::testing::Values(FakeHost::Backend::kDirectory, FakeHost::Backend::kLuo),
    [](const auto& param_info) {
      return std::string(param_info.param == FakeHost::Backend::kLuo ? "luo"
                                                                     : "dax");
    });

}  // namespace
}  // namespace live_update
