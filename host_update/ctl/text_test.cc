#include "host_update/ctl/text.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"

namespace live_update::ctl {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

TEST(VmsTextTest, ColumnsAreAsWideAsTheLongestName) {
  v1::ListVmsResponse vms;
  auto* vm = vms.add_vms();
  vm->set_name("db");
  vm->set_uuid("u-1");
  vm->set_state("running");
  vm->set_way("in-place");
  vm = vms.add_vms();
  vm->set_name("a-longer-name");
  vm->set_uuid("u-2");
  vm->set_state("off");
  vm->set_way("none");
  EXPECT_EQ(VmsText(vms),
            "NAME           STATE    WAY       UUID\n"
            "db             running  in-place  u-1\n"
            "a-longer-name  off      none      u-2\n");
}

TEST(VmsTextTest, ARefusedVmSaysWhyAndWhatToDo) {
  v1::ListVmsResponse vms;
  auto* vm = vms.add_vms();
  vm->set_name("mail");
  vm->set_way("refuse");
  Finding* blocker = vm->add_blockers();
  blocker->set_code("RAM_NOT_SHARED");
  blocker->set_message("memory is private");
  blocker->set_remedy("virsh edit mail");
  EXPECT_THAT(VmsText(vms), AllOf(HasSubstr("mail: RAM_NOT_SHARED memory is "
                                            "private\n    fix: virsh edit"),
                                  HasSubstr("refuse")));
}

TEST(VmsTextTest, NoneIsSaid) {
  EXPECT_EQ(VmsText(v1::ListVmsResponse()), "No VMs.\n");
}

TEST(HistoryTextTest, HasALineForEachOperation) {
  v1::ListOperationsResponse history;
  v1::Operation* operation = history.add_operations();
  operation->set_id("b");
  operation->set_kind(v1::Operation::RECOVER);
  operation->set_state(v1::Operation::RUNNING);
  operation->set_started_at("2026-11-25T00:00:00Z");
  operation->set_vm("db");
  operation = history.add_operations();
  operation->set_id("a");
  operation->set_kind(v1::Operation::UPDATE);
  operation->set_state(v1::Operation::FAILED);
  operation->set_started_at("2026-11-24T00:00:00Z");
  operation->set_exit_code(6);
  operation->set_requested_by("uid 0");
  operation->set_reason("two\nlines");
  operation->mutable_target()->set_kernel("/boot/k");
  EXPECT_EQ(HistoryText(history),
            "STARTED               ID  KIND     STATE    EXIT  BY     OF       "
            "REASON\n"
            "2026-11-25T00:00:00Z  b   recover  running  -     -      db       "
            "-\n"
            "2026-11-24T00:00:00Z  a   update   failed   6     uid 0  /boot/k  "
            "two lines\n");
}

TEST(HostTextTest, NamesTheOperationThatRuns) {
  v1::HostInfo info;
  info.set_version("3");
  EXPECT_THAT(HostText(info), HasSubstr("hostupdated 3, no operation runs"));
  info.set_running_operation("op-1");
  EXPECT_THAT(HostText(info), HasSubstr("operation op-1 runs"));
}

TEST(PhaseTextTest, CountsTheUpdatesPhasesAndNoOthers) {
  EXPECT_EQ(PhaseText("check"), "[1/9] check");
  EXPECT_EQ(PhaseText("jump"), "[6/9] jump");
  EXPECT_EQ(PhaseText("discard"), "discard");
}

TEST(ProgressTextTest, IsOneLineCutBetweenCharacters) {
  v1::Event event;
  event.set_phase("save");
  event.set_message("a\x1b[2J\nb…");
  const std::string whole = ProgressText(event, 79);
  EXPECT_EQ(whole, "[4/9] save    a [2J b…");
  // The last character has three bytes.
  EXPECT_EQ(ProgressText(event, whole.size() - 1), "[4/9] save    a [2J b");
  EXPECT_EQ(ProgressText(event, whole.size()), whole);
}

TEST(OperationTextTest, IsTheRestartsReportIfThatIsThere) {
  v1::Operation operation;
  operation.mutable_restart()->set_rehearsal(true);
  operation.mutable_restart()->set_restart_id("re-1");
  RestartedVm& vm = *operation.mutable_restart()->add_vms();
  vm.mutable_vm()->set_name("db");
  vm.mutable_vm()->set_result(VmReport::RESTORED);
  vm.mutable_vm()->set_blackout_s(0.41);
  vm.set_result(RestartedVm::RESTARTED);
  vm.set_qemu_before("10.0.2");
  vm.set_qemu_after("10.0.13");
  const std::string text = OperationText(operation);
  EXPECT_THAT(text, HasSubstr("Rehearsal re-1"));
  EXPECT_THAT(text, HasSubstr("blackout    0.41 s"));
  EXPECT_THAT(text, HasSubstr("QEMU 10.0.2, process 0 -> QEMU 10.0.13"));

  vm.set_result(RestartedVm::NOT_BACK);
  vm.set_reason("no such device");
  vm.mutable_vm()->set_next_step("mend it");
  EXPECT_THAT(OperationText(operation),
              HasSubstr("db: NOT BACK: no such device\n      next: mend it"));
}

TEST(OperationTextTest, IsTheReportIfThereIsOne) {
  v1::Operation operation;
  operation.set_id("op-1");
  operation.set_kind(v1::Operation::FINISH);
  operation.set_state(v1::Operation::FAILED);
  operation.set_vm("db");
  operation.set_error("no such VM");
  EXPECT_EQ(OperationText(operation),
            "Operation op-1 (finish db): failed: no such VM\n");
  operation.mutable_report()->set_update_id("up-9");
  EXPECT_THAT(OperationText(operation), HasSubstr("Update up-9"));
}

TEST(ErrorTextTest, SaysWhatFailedHowVmsAreAndWhatToDo) {
  EXPECT_EQ(ErrorText({.code = "BUSY",
                       .message = "another runs",
                       .remedy = "hostupdatectl watch",
                       .vms_now = "run"}),
            "hostupdatectl: BUSY: another runs\n"
            "  VMs now: run\n"
            "  next:    hostupdatectl watch\n");
}

TEST(JsonLineTest, IsOneLineThatParsesToTheSame) {
  v1::Event event;
  event.set_sequence(7);
  event.set_message("  two\n  lines, \"quoted\"");
  const std::string line = JsonLine(event);
  EXPECT_THAT(line, AllOf(EndsWith("}\n"), HasSubstr("\"operation_id\"")));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  v1::Event parsed;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &parsed).ok());
  EXPECT_EQ(parsed.SerializeAsString(), event.SerializeAsString());
}

}  // namespace
}  // namespace live_update::ctl
