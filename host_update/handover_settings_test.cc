// What deps.handover asks of the handover, on both sides of the jump: its
// version, its key, and that guest RAM is what it was.

#include <fstream>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::shared_ptr<const HandoverKey> Key(char byte) {
  return std::make_shared<const HandoverKey>(
      HandoverKey::FromBytes(std::string(32, byte)).value());
}

class HandoverSettingsTest : public ::testing::Test {
 protected:
  HandoverSettingsTest() {
    host_.hypervisor().AddVm("vm1", VmState::kRunning, "memory of vm1");
    host_.hypervisor().AddVm("vm2", VmState::kRunning, "memory of vm2");
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
  // As a stray writer would, in its seventh byte.
  void DamageRam(const std::string& vm) {
    std::fstream ram(host_.hypervisor().vm(vm).ram_path,
                     std::ios::in | std::ios::out | std::ios::binary);
    ram.seekp(6);
    ram.put('!');
    ASSERT_TRUE(ram.good());
  }
  VmState StateOf(const std::string& vm) {
    return host_.hypervisor().vm(vm).info.state;
  }
  HandoverSettings& settings() { return host_.deps().handover; }

  FakeHost host_;
};

TEST_F(HandoverSettingsTest, BothVersionsBringTheVmsBack) {
  for (const uint32_t version : {1, 2}) {
    settings().version = version;
    Jump();
    const UpdateReport report = Restore();
    EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
    EXPECT_EQ(report.handover_version(), version);
    EXPECT_THAT(report.handover_key_id(), IsEmpty());
    EXPECT_THAT(report.vms(0).ram_digests(), HasSubstr("1 pages of 4096"));
  }
}

TEST_F(HandoverSettingsTest, TheSameKeyOnBothSidesBringsTheVmsBack) {
  settings().key = Key('k');
  Jump();
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(report.handover_key_id(), ToHex(settings().key->id()));
}

TEST_F(HandoverSettingsTest, AKeyAndVersion1FailBeforeAVmIsPaused) {
  settings().key = Key('k');
  settings().version = 1;
  const LiveUpdateResult result = LiveUpdate(host_.Request(), host_.deps());
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("can't be authenticated")));
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
  EXPECT_EQ(StateOf("vm1"), VmState::kRunning);
  EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
}

// One way or the other the sides do not agree on the key: no VM is started, and
// once they do, all are.
struct Disagreement {
  const char* name;
  char key_before;  // 0: none.
  char key_after;
  const char* reason;
};

class DisagreementTest : public HandoverSettingsTest,
                         public ::testing::WithParamInterface<Disagreement> {};

TEST_P(DisagreementTest, StartsNoVmUntilTheKeyIsTheSame) {
  const auto key_of = [](char byte) { return byte == 0 ? nullptr : Key(byte); };
  settings().key = key_of(GetParam().key_before);
  Jump();
  settings().key = key_of(GetParam().key_after);
  const UpdateReport refused = Restore();
  EXPECT_EQ(refused.result(), UpdateReport::HANDOVER_REFUSED);
  EXPECT_THAT(refused.reason(),
              AllOf(HasSubstr(GetParam().reason), HasSubstr("everything is")));
  EXPECT_EQ(StateOf("vm1"), VmState::kOff);
  EXPECT_EQ(StateOf("vm2"), VmState::kOff);
  EXPECT_THAT(host_.LeftInPreservedMemory(), Not(IsEmpty()));

  settings().key = key_of(GetParam().key_before);
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), "memory of vm1");
}

INSTANTIATE_TEST_SUITE_P(
    All, DisagreementTest,
    ::testing::Values(
        Disagreement{"KeyOnlyBefore", 'k', 0, "no key is given"},
        Disagreement{"KeyOnlyAfter", 0, 'k', "is not authenticated"},
        Disagreement{"AnotherKey", 'k', 'o', "the key given has id"}),
    [](const auto& info) { return info.param.name; });

TEST_F(HandoverSettingsTest, AVmWhoseRamChangedIsNotStartedAndSaysWhere) {
  Jump();
  DamageRam("vm1");
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  EXPECT_EQ(report.vms(0).result(), VmReport::NOT_RESTORED);
  EXPECT_THAT(report.vms(0).reason(),
              AllOf(HasSubstr("guest RAM is not what it was"),
                    HasSubstr("pc.ram at 0+0xd")));
  EXPECT_THAT(report.vms(0).next_step(),
              HasSubstr("--retry vm1 --verify-ram none"));
  EXPECT_EQ(StateOf("vm1"), VmState::kOff);
  EXPECT_EQ(report.vms(1).result(), VmReport::RESTORED);
  EXPECT_EQ(StateOf("vm2"), VmState::kRunning);

  // Its memory is kept: a retry says the same, unless it is told not to look.
  ASSERT_OK_AND_ASSIGN(const UpdateReport again, RetryVm("vm1", host_.deps()));
  EXPECT_EQ(again.vms(0).result(), VmReport::NOT_RESTORED);
  settings().verify_ram = RamCoverage::kNone;
  ASSERT_OK_AND_ASSIGN(const UpdateReport forced, RetryVm("vm1", host_.deps()));
  EXPECT_EQ(forced.vms(0).result(), VmReport::RESTORED);
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), "memory!of vm1");
}

TEST_F(HandoverSettingsTest, AllOfRamIsDigestedOnDemandAndTimed) {
  settings().verify_ram = RamCoverage::kAll;
  Jump();
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_THAT(report.vms(0).ram_digests(), HasSubstr("all of it, 1 chunks"));
  EXPECT_GT(report.vms(0).digest_before_s(), 0);
  EXPECT_GT(report.vms(0).digest_after_s(), 0);
}

TEST_F(HandoverSettingsTest, DigestsThatTakeTooLongTakeTheUpdateBack) {
  settings().verify_ram = RamCoverage::kAll;
  host_.deps().limits.save = absl::ZeroDuration();
  const LiveUpdateResult result = LiveUpdate(host_.Request(), host_.deps());
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                      AllOf(HasSubstr("0 of 13 bytes done"),
                                            HasSubstr("--verify-ram sample"),
                                            HasSubstr("--save-timeout"))));
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
  EXPECT_EQ(StateOf("vm1"), VmState::kRunning);
  EXPECT_EQ(StateOf("vm2"), VmState::kRunning);
  EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
}

TEST_F(HandoverSettingsTest, AVmWhoseComparisonTakesTooLongIsKept) {
  settings().verify_ram = RamCoverage::kAll;
  Jump();
  host_.deps().limits.restore = absl::ZeroDuration();
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::PARTIAL);
  EXPECT_THAT(report.vms(0).reason(), HasSubstr("0 of 13 bytes done"));
  EXPECT_THAT(report.vms(0).next_step(),
              AllOf(HasSubstr("--retry vm1 --restore-timeout SECONDS"),
                    HasSubstr("--verify-ram none")));
  EXPECT_EQ(StateOf("vm1"), VmState::kOff);

  settings().verify_ram = RamCoverage::kNone;
  ASSERT_OK_AND_ASSIGN(const UpdateReport uncompared,
                       RetryVm("vm1", host_.deps()));
  EXPECT_EQ(uncompared.vms(0).result(), VmReport::RESTORED);
  settings().verify_ram = RamCoverage::kAll;
  host_.deps().limits.restore = absl::Seconds(180);
  ASSERT_OK_AND_ASSIGN(const UpdateReport compared,
                       RetryVm("vm2", host_.deps()));
  EXPECT_EQ(compared.result(), UpdateReport::UPDATED);
  EXPECT_EQ(host_.hypervisor().Memory("vm2"), "memory of vm2");
}

TEST_F(HandoverSettingsTest, WithoutDigestsNothingIsCompared) {
  settings().verify_ram = RamCoverage::kNone;
  Jump();
  settings().verify_ram = RamCoverage::kSample;
  DamageRam("vm1");
  const UpdateReport report = Restore();
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_THAT(report.vms(0).ram_digests(), IsEmpty());
  EXPECT_EQ(report.vms(0).digest_before_s(), 0);
}

}  // namespace
}  // namespace live_update
