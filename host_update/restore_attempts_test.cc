// A restore that comes to no end is not begun for ever.

#include "host_update/restore_attempts.h"

#include <sys/stat.h>

#include <string>

#include "absl/time/time.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/early_restore.h"
#include "host_update/history.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "host_update/status.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kMemory[] = "what the guest had in its memory";

class RestoreAttemptsTest : public ::testing::Test {
 protected:
  RestoreAttemptsTest() {
    host_.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
    host_.hypervisor().AddVm("vm2", VmState::kRunning, kMemory);
    EXPECT_THAT(LiveUpdate(host_.Request(), host_.deps()).status, IsOk());
    host_.Kexec(1);
  }

  absl::StatusOr<UpdateReport> Restore(Attempt attempt = Attempt::kAutomatic) {
    return RestoreAll(host_.clock().Sample(), host_.deps(), attempt);
  }

  // A restorer that is killed before it has started a VM.
  void KillRestorer() {
    EXPECT_EXIT(
        {
          host_.DieOn(Phase::kRestore);
          (void)Restore();
        },
        ::testing::KilledBySignal(SIGKILL), "");
  }

  void ExpectNothingTouched() {
    for (const char* name : {"vm1", "vm2"}) {
      EXPECT_EQ(host_.hypervisor().vm(name).info.state, VmState::kOff);
    }
    EXPECT_THAT(host_.hypervisor().started(), IsEmpty());
    EXPECT_THAT(host_.LeftInPreservedMemory(), SizeIs(::testing::Ge(3)));
  }

  void ExpectAllBack() {
    for (const char* name : {"vm1", "vm2"}) {
      EXPECT_EQ(host_.hypervisor().vm(name).info.state, VmState::kRunning);
      EXPECT_EQ(host_.hypervisor().Memory(name), kMemory);
    }
    EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
  }

  FakeHost host_;
};

TEST_F(RestoreAttemptsTest, AfterTwoKilledRestorersTheThirdStartsNothing) {
  KillRestorer();
  KillRestorer();
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  EXPECT_THAT(report.reason(), HasSubstr("begun 2 times"));
  EXPECT_THAT(report.reason(), HasSubstr("restore --again"));
  ASSERT_EQ(report.vms_size(), 2);
  EXPECT_EQ(report.vms(1).name(), "vm2");
  EXPECT_EQ(report.vms(1).result(), VmReport::NOT_RESTORED);
  EXPECT_THAT(report.vms(1).next_step(), HasSubstr("restore --retry vm2"));
  ExpectNothingTouched();
  // It is on record, and what is on record is what `status` says.
  ASSERT_OK_AND_ASSIGN(const UpdateReport kept,
                       ReadReport(host_.deps().paths.state_dir, ""));
  EXPECT_EQ(kept.reason(), report.reason());
  ASSERT_OK_AND_ASSIGN(const HostStatus status, ReadStatus(host_.deps()));
  ASSERT_EQ(status.unrestored_size(), 2);
  EXPECT_THAT(status.unrestored(0).next_step(), HasSubstr("restore --again"));
}

TEST_F(RestoreAttemptsTest, AnOperatorTriesAgain) {
  KillRestorer();
  KillRestorer();
  ASSERT_THAT(Restore(), IsOk());
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore(Attempt::kAgain));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(report.reason(), "");
  ExpectAllBack();
}

TEST_F(RestoreAttemptsTest, AnOperatorTriesOneVmAfterTheOther) {
  KillRestorer();
  KillRestorer();
  ASSERT_THAT(Restore(), IsOk());
  ASSERT_OK_AND_ASSIGN(UpdateReport report, RetryVm("vm1", host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  // The boot after that leaves what vm1's entry says alone.
  ASSERT_OK_AND_ASSIGN(report, Restore());
  EXPECT_EQ(report.vms(0).result(), VmReport::RESTORED);
  EXPECT_EQ(report.vms(1).result(), VmReport::NOT_RESTORED);
  ASSERT_OK_AND_ASSIGN(report, RetryVm("vm2", host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(report.reason(), "");
  ExpectAllBack();
  EXPECT_THAT(Restore(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no handover")));
}

TEST_F(RestoreAttemptsTest, FailuresOverBootsCountAsWell) {
  host_.FailOn(Phase::kRestore);
  EXPECT_THAT(Restore(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  host_.Kexec(1);
  EXPECT_THAT(Restore(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  host_.Kexec(1);
  host_.StopFailing();
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  ExpectNothingTouched();
  // Nor does libvirtd start what waits.
  ASSERT_OK_AND_ASSIGN(const bool held, HoldAutostart(host_.deps()));
  EXPECT_TRUE(held);
}

TEST_F(RestoreAttemptsTest, OneKilledRestorerIsNotTheEnd) {
  KillRestorer();
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  ExpectAllBack();
}

TEST_F(RestoreAttemptsTest, ARestoreThatCameToItsEndStartsTheCountAnew) {
  KillRestorer();
  ASSERT_THAT(Restore(), IsOk());
  ASSERT_THAT(LiveUpdate(host_.Request(), host_.deps()).status, IsOk());
  host_.Kexec(1);
  KillRestorer();
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
}

TEST_F(RestoreAttemptsTest, ARefusedHandoverIsNoAttempt) {
  host_.FlipHandoverByte(/*offset=*/16);
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
    EXPECT_EQ(report.result(), UpdateReport::HANDOVER_REFUSED);
  }
}

TEST_F(RestoreAttemptsTest, ItsFileIsPrivateAndWhatCantBeReadKeepsNoVmWaiting) {
  const std::string path = host_.deps().paths.state_dir + "/restore-attempts";
  KillRestorer();
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600);
  ASSERT_THAT(WriteFileAtomically(path, "no number"), IsOk());
  ASSERT_OK_AND_ASSIGN(const UpdateReport report, Restore());
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_NE(stat(path.c_str(), &info), 0);
}

}  // namespace
}  // namespace live_update
