#include "host_update/ctl/commands.h"

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "host_update/cli/exit_code.h"
#include "host_update/ctl/fake_host_update.h"

namespace live_update::ctl {
namespace {

using ::google::protobuf::util::JsonStringToMessage;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

MATCHER_P(ExitsWith, code, "") { return arg == static_cast<int>(code); }

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() {
    console_.out = [this](absl::string_view text) {
      out_.append(text.data(), text.size());
    };
    console_.err = [this](absl::string_view text) {
      err_.append(text.data(), text.size());
    };
    console_.read_line = [this]() -> std::optional<std::string> {
      if (typed_.empty()) return std::nullopt;
      std::string line = typed_.front();
      typed_.pop_front();
      return line;
    };
    console_.host_name = "kvm-12";
    console_.retry_interval = absl::Milliseconds(20);
    options_.socket = fake_.socket();
    options_.timeout = absl::Seconds(20);
  }

  int Run(Command command) {
    options_.command = command;
    out_.clear();
    err_.clear();
    return RunCommand(options_, console_);
  }

  // An update op-1 with a report and events 1…4 that lead to `state`.
  v1::Operation& AddUpdate(v1::Operation::State state, int exit_code) {
    v1::Operation operation;
    operation.set_id("op-1");
    operation.set_kind(v1::Operation::UPDATE);
    operation.set_state(state);
    operation.set_exit_code(exit_code);
    operation.mutable_report()->set_update_id("op-1");
    operation.mutable_report()->set_result(UpdateReport::UPDATED);
    fake_.operations.push_back(operation);
    const std::vector<std::string> phases = {"pause", "save", "save",
                                             "restore"};
    for (size_t i = 0; i < phases.size(); ++i) {
      v1::Event event;
      event.set_sequence(i + 1);
      event.set_operation_id("op-1");
      event.set_phase(phases[i]);
      event.set_message(absl::StrCat("event ", i + 1));
      event.set_state(i + 1 == phases.size() ? state : v1::Operation::RUNNING);
      fake_.events.push_back(event);
    }
    return fake_.operations.back();
  }

  void GiveKernel() {
    options_.kernel = "/boot/vmlinuz-new";
    options_.initrd = "/boot/initrd.img-new";
    options_.yes = true;
  }

  UpdateReport Report(const std::string& id, UpdateReport::Result result,
                      const std::string& from, const std::string& to) {
    UpdateReport report;
    report.set_update_id(id);
    report.set_result(result);
    report.set_kernel_before(from);
    report.set_kernel_after(to);
    return report;
  }

  FakeHostUpdate fake_;
  Options options_;
  Console console_;
  std::deque<std::string> typed_;
  std::string out_;
  std::string err_;
};

TEST_F(CommandsTest, EveryErrorSaysHowVmsAreAndTheNextCommand) {
  fake_.error = ErrorStatus(grpc::StatusCode::UNAVAILABLE, "op-7 runs", "BUSY",
                            "hostupdatectl watch op-7", "they run");
  EXPECT_THAT(Run(Command::kCheck), ExitsWith(ExitCode::kBusy));
  EXPECT_THAT(err_, AllOf(HasSubstr("BUSY: op-7 runs"), HasSubstr("they run"),
                          HasSubstr("hostupdatectl watch op-7")));
  EXPECT_THAT(out_, IsEmpty());
}

TEST_F(CommandsTest, AnErrorIsJsonAsWell) {
  options_.json = true;
  fake_.error = ErrorStatus(grpc::StatusCode::UNAVAILABLE, "op-7 runs", "BUSY",
                            "wait", "they run");
  EXPECT_THAT(Run(Command::kVms), ExitsWith(ExitCode::kBusy));
  v1::ErrorDetail detail;
  ASSERT_TRUE(JsonStringToMessage(out_, &detail).ok()) << out_;
  EXPECT_EQ(detail.code(), "BUSY");
  EXPECT_EQ(detail.vms_now(), "they run");
}

TEST_F(CommandsTest, WithoutADaemonExitsWithFour) {
  fake_.Stop();
  GiveKernel();
  for (const Command command :
       {Command::kStatus, Command::kCheck, Command::kUpdate, Command::kWatch,
        Command::kAbort, Command::kRollback}) {
    EXPECT_THAT(Run(command), ExitsWith(ExitCode::kNoDaemon));
    EXPECT_THAT(err_, HasSubstr("systemctl status hostupdated"));
  }
}

TEST_F(CommandsTest, CheckExitsWithThreeOnNoGo) {
  fake_.check.set_go(false);
  EXPECT_THAT(Run(Command::kCheck), ExitsWith(ExitCode::kNoGo));
  EXPECT_THAT(out_, HasSubstr("No-go"));
  EXPECT_FALSE(fake_.check_request.has_target());
  fake_.check.set_go(true);
  EXPECT_THAT(Run(Command::kCheck), ExitsWith(ExitCode::kOk));
  options_.quiet = true;
  EXPECT_THAT(Run(Command::kCheck), ExitsWith(ExitCode::kOk));
  EXPECT_THAT(out_ + err_, IsEmpty());
}

TEST_F(CommandsTest, CheckAndPlanPassTheTargetOn) {
  GiveKernel();
  options_.append = "nosmt";
  options_.overrides = {"BLOCK_JOB"};
  options_.ways = {{"vm1", "copy"}};
  Run(Command::kCheck);
  EXPECT_EQ(fake_.check_request.target().kernel(), "/boot/vmlinuz-new");
  EXPECT_EQ(fake_.check_request.target().append(), "nosmt");
  EXPECT_THAT(fake_.check_request.overrides(), ElementsAre("BLOCK_JOB"));
  fake_.plan.mutable_check()->set_go(true);
  fake_.plan.add_steps("1  pause");
  EXPECT_THAT(Run(Command::kPlan), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.plan_request.target().initrd(), "/boot/initrd.img-new");
  EXPECT_EQ(fake_.plan_request.ways().at("vm1"), "copy");
  EXPECT_THAT(out_, HasSubstr("1  pause"));
}

TEST_F(CommandsTest, ReadsPrintJsonThatParses) {
  options_.json = true;
  fake_.info.set_version("7");
  fake_.vms.add_vms()->set_name("db");
  fake_.reports[""] = Report("op-9", UpdateReport::PARTIAL, "a", "b");
  AddUpdate(v1::Operation::SUCCEEDED, 0);

  EXPECT_THAT(Run(Command::kStatus), ExitsWith(ExitCode::kOk));
  v1::HostInfo info;
  ASSERT_TRUE(JsonStringToMessage(out_, &info).ok()) << out_;
  EXPECT_EQ(info.version(), "7");
  EXPECT_THAT(Run(Command::kVms), ExitsWith(ExitCode::kOk));
  v1::ListVmsResponse vms;
  ASSERT_TRUE(JsonStringToMessage(out_, &vms).ok()) << out_;
  EXPECT_EQ(vms.vms(0).name(), "db");
  EXPECT_THAT(Run(Command::kReport), ExitsWith(ExitCode::kOk));
  UpdateReport report;
  ASSERT_TRUE(JsonStringToMessage(out_, &report).ok()) << out_;
  EXPECT_EQ(report.update_id(), "op-9");
  EXPECT_THAT(Run(Command::kHistory), ExitsWith(ExitCode::kOk));
  v1::ListOperationsResponse history;
  ASSERT_TRUE(JsonStringToMessage(out_, &history).ok()) << out_;
  EXPECT_EQ(history.operations(0).id(), "op-1");
  EXPECT_THAT(Run(Command::kVersion), ExitsWith(ExitCode::kOk));
  google::protobuf::Struct versions;
  ASSERT_TRUE(JsonStringToMessage(out_, &versions).ok()) << out_;
  EXPECT_EQ(versions.fields().at("hostupdated").string_value(), "7");
}

TEST_F(CommandsTest, AReportThatIsNotThereIsNothingToDo) {
  options_.id = "none";
  EXPECT_THAT(Run(Command::kReport), ExitsWith(ExitCode::kNothingToDo));
}

TEST_F(CommandsTest, VersionNeedsNoDaemon) {
  fake_.Stop();
  EXPECT_THAT(Run(Command::kVersion), ExitsWith(ExitCode::kOk));
  EXPECT_THAT(out_, HasSubstr(kVersion));
}

TEST_F(CommandsTest, UpdateSaysWhatWasAgreedOnAndWhy) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  options_.plan_hash = "5b1c9e";
  options_.reason = "CVE-2026-1234";
  options_.request_id = "r-1";
  options_.max_blackout_s = 15;
  options_.overrides = {"TARGET_KVM"};
  options_.ways = {{"vm1", "shutdown"}};
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kOk));
  const v1::ExecuteRequest& request = fake_.execute_request;
  EXPECT_EQ(request.target().kernel(), "/boot/vmlinuz-new");
  EXPECT_EQ(request.target().initrd(), "/boot/initrd.img-new");
  EXPECT_EQ(request.plan_hash(), "5b1c9e");
  EXPECT_EQ(request.reason(), "CVE-2026-1234");
  EXPECT_EQ(request.request_id(), "r-1");
  EXPECT_EQ(request.max_blackout_s(), 15);
  EXPECT_THAT(request.overrides(), ElementsAre("TARGET_KVM"));
  EXPECT_EQ(request.ways().at("vm1"), "shutdown");
  EXPECT_THAT(out_, HasSubstr("Update op-1"));
}

TEST_F(CommandsTest, PrepareAsksNobodyAndUpdatesNothing) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  options_.plan_hash = "5b1c9e";
  options_.yes = false;
  EXPECT_THAT(Run(Command::kPrepare), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.execute_request.target().kernel(), "/boot/vmlinuz-new");
  EXPECT_EQ(fake_.execute_request.plan_hash(), "5b1c9e");
  EXPECT_THAT(fake_.calls, Contains("Prepare"));
  EXPECT_THAT(fake_.calls, Not(Contains("Execute")));
}

TEST_F(CommandsTest, UpdateTellsEachPhaseOnce) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  Run(Command::kUpdate);
  EXPECT_THAT(out_, AllOf(HasSubstr("event 1"), HasSubstr("event 2"),
                          Not(HasSubstr("event 3")), HasSubstr("event 4")));
}

TEST_F(CommandsTest, OnATerminalProgressIsOneLine) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  console_.out_terminal = true;
  Run(Command::kUpdate);
  const std::string progress = out_.substr(0, out_.find("Update op-1"));
  EXPECT_THAT(progress, AllOf(HasSubstr("\r\x1b[K[4/9] save    event 3"),
                              Not(HasSubstr("\n"))));
}

TEST_F(CommandsTest, UpdateWithJsonIsALineForEachEventAndTheOperation) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  options_.json = true;
  Run(Command::kUpdate);
  const std::vector<std::string> lines = Lines(out_);
  ASSERT_EQ(lines.size(), 5) << out_;
  for (size_t i = 0; i < 4; ++i) {
    v1::Event event;
    ASSERT_TRUE(JsonStringToMessage(lines[i], &event).ok()) << lines[i];
    EXPECT_EQ(event.sequence(), i + 1);
  }
  v1::Operation operation;
  ASSERT_TRUE(JsonStringToMessage(lines[4], &operation).ok()) << lines[4];
  EXPECT_EQ(operation.report().update_id(), "op-1");
}

TEST_F(CommandsTest, UpdateExitsAsTheOperationDid) {
  AddUpdate(v1::Operation::FAILED, 6);
  GiveKernel();
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kVmNotBack));
  EXPECT_THAT(err_, HasSubstr("hostupdatectl recover"));
  fake_.operations[0].set_exit_code(1);
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kFailedUnharmed));
  EXPECT_THAT(err_, HasSubstr("VMs now: as before"));
  fake_.operations[0].set_exit_code(0);  // Of a failure: it can't be trusted.
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kVmNotBack));
}

TEST_F(CommandsTest, UpdateOverTheBudgetExitsWithEight) {
  GiveKernel();
  fake_.operations.emplace_back();
  fake_.error = ErrorStatus(grpc::StatusCode::FAILED_PRECONDITION, "20 s",
                            "BLACKOUT_BUDGET", "raise it", "they run");
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kOverBudget));
}

TEST_F(CommandsTest, UpdateThatDoesNotWaitPrintsTheId) {
  AddUpdate(v1::Operation::RUNNING, 0);
  GiveKernel();
  options_.no_wait = true;
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(out_, "op-1\n");
  EXPECT_THAT(fake_.watch_requests, IsEmpty());
  options_.json = true;
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kOk));
  v1::Operation operation;
  ASSERT_TRUE(JsonStringToMessage(out_, &operation).ok()) << out_;
  EXPECT_EQ(operation.id(), "op-1");
}

TEST_F(CommandsTest, WithoutATerminalNobodyIsAsked) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  options_.yes = false;
  options_.vm = "db";
  typed_ = {"kvm-12"};
  for (const Command command :
       {Command::kUpdate, Command::kRollback, Command::kFinish}) {
    EXPECT_THAT(Run(command), ExitsWith(ExitCode::kUsage));
    EXPECT_THAT(err_, HasSubstr("--yes"));
  }
  EXPECT_THAT(fake_.calls, IsEmpty());
}

TEST_F(CommandsTest, UpdateShowsThePlanAndAsksForTheHostName) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  GiveKernel();
  options_.yes = false;
  console_.in_terminal = true;
  fake_.plan.mutable_check()->set_go(true);
  fake_.plan.add_steps("1  pause");

  typed_ = {"kvm-13"};
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kAborted));
  EXPECT_THAT(err_, HasSubstr("1  pause"));
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kAborted));  // EOF.
  EXPECT_THAT(fake_.calls, Not(Contains("Execute")));

  typed_ = {"kvm-12"};
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kOk));
  EXPECT_THAT(fake_.calls, Contains("Execute"));

  fake_.calls.clear();
  fake_.plan.mutable_check()->set_go(false);
  typed_ = {"kvm-12"};
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kFailedUnharmed));
  EXPECT_THAT(fake_.calls, ElementsAre("Plan"));
}

TEST_F(CommandsTest, WatchResumesAfterTheLastEventSeen) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  fake_.fail_after = 2;
  options_.id = "op-1";
  EXPECT_THAT(Run(Command::kWatch), ExitsWith(ExitCode::kOk));
  ASSERT_EQ(fake_.watch_requests.size(), 2);
  EXPECT_EQ(fake_.watch_requests[0].operation_id(), "op-1");
  EXPECT_EQ(fake_.watch_requests[0].after_sequence(), 0);
  EXPECT_EQ(fake_.watch_requests[1].operation_id(), "op-1");
  EXPECT_EQ(fake_.watch_requests[1].after_sequence(), 2);
  EXPECT_THAT(
      err_, AllOf(HasSubstr("Connection lost"), HasSubstr("Connected again")));
}

TEST_F(CommandsTest, WatchSurvivesARestartOfTheDaemon) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  fake_.hang_after = 1;
  options_.id = "op-1";
  options_.json = true;
  std::thread restart([this] {
    fake_.WaitForHang();
    fake_.Stop();
    absl::SleepFor(absl::Milliseconds(100));
    fake_.Start();
  });
  EXPECT_THAT(Run(Command::kWatch), ExitsWith(ExitCode::kOk));
  restart.join();
  EXPECT_EQ(Lines(out_).size(), 5) << out_;
  EXPECT_EQ(fake_.watch_requests.back().after_sequence(), 1);
}

TEST_F(CommandsTest, WatchThatIsNeverAnsweredAgainSaysThatItIsNotKnown) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  fake_.hang_after = 1;
  options_.id = "op-1";
  options_.timeout = absl::Seconds(1);
  std::thread stop([this] {
    fake_.WaitForHang();
    fake_.Stop();
  });
  EXPECT_THAT(Run(Command::kWatch), ExitsWith(ExitCode::kNoDaemon));
  stop.join();
  EXPECT_THAT(err_, AllOf(HasSubstr("not known how operation op-1 ended"),
                          HasSubstr("hostupdatectl watch op-1")));
}

TEST_F(CommandsTest, AnOperationThatIsForgottenIsNotNothingToDo) {
  AddUpdate(v1::Operation::RUNNING, 0);
  GiveKernel();
  fake_.fail_after = 1;
  fake_.failure = grpc::Status(grpc::StatusCode::NOT_FOUND, "no op-1");
  EXPECT_THAT(Run(Command::kUpdate), ExitsWith(ExitCode::kNoDaemon));
  EXPECT_THAT(err_, HasSubstr("no op-1"));
}

TEST_F(CommandsTest, WatchWithoutAnIdFollowsWhatRuns) {
  EXPECT_THAT(Run(Command::kWatch), ExitsWith(ExitCode::kNothingToDo));
  AddUpdate(v1::Operation::ABORTED, 7);
  fake_.info.set_running_operation("op-1");
  EXPECT_THAT(Run(Command::kWatch), ExitsWith(ExitCode::kAborted));
  EXPECT_EQ(fake_.watch_requests[0].operation_id(), "op-1");
}

TEST_F(CommandsTest, WatchOfAnUnknownOperationIsNothingToDo) {
  options_.id = "op-0";
  EXPECT_THAT(Run(Command::kWatch), ExitsWith(ExitCode::kNothingToDo));
}

TEST_F(CommandsTest, AbortIsDoneWhenTheOperationIsAborted) {
  EXPECT_THAT(Run(Command::kAbort), ExitsWith(ExitCode::kNothingToDo));
  EXPECT_THAT(fake_.calls, Not(Contains("Abort")));
  AddUpdate(v1::Operation::ABORTED, 7);
  fake_.info.set_running_operation("op-1");
  options_.reason = "not now";
  EXPECT_THAT(Run(Command::kAbort), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.abort_request.operation_id(), "op-1");
  EXPECT_EQ(fake_.abort_request.reason(), "not now");
  fake_.operations[0].set_state(v1::Operation::FAILED);
  fake_.operations[0].set_exit_code(6);
  EXPECT_THAT(Run(Command::kAbort), ExitsWith(ExitCode::kVmNotBack));
}

TEST_F(CommandsTest, EnableShowsWhatChanges) {
  options_.vm = "db";
  options_.dry_run = true;
  EXPECT_THAT(Run(Command::kEnable), ExitsWith(ExitCode::kOk));
  EXPECT_THAT(out_, HasSubstr("+<access mode='shared'/>"));
  EXPECT_EQ(fake_.enable_request.vm(), "db");
  EXPECT_TRUE(fake_.enable_request.dry_run());
  EXPECT_FALSE(fake_.enable_request.undo());
  options_.undo = true;
  EXPECT_THAT(Run(Command::kEnable), ExitsWith(ExitCode::kOk));
  EXPECT_TRUE(fake_.enable_request.undo());
}

TEST_F(CommandsTest, RecoverAndFinishNameTheVm) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  options_.vm = "db";
  options_.reason = "again";
  EXPECT_THAT(Run(Command::kRecover), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.recover_request.vm(), "db");
  EXPECT_EQ(fake_.recover_request.reason(), "again");

  console_.in_terminal = true;
  typed_ = {"web", "db"};
  EXPECT_THAT(Run(Command::kFinish), ExitsWith(ExitCode::kAborted));
  EXPECT_THAT(fake_.calls, Not(Contains("Finish")));
  EXPECT_THAT(Run(Command::kFinish), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.finish_request.vm(), "db");
}

TEST_F(CommandsTest, RestartVmmSaysWhoStandsStillAndAsks) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  options_.yes = false;
  options_.vms = {"db", "web"};
  EXPECT_THAT(Run(Command::kRestartVmm), ExitsWith(ExitCode::kUsage));

  console_.in_terminal = true;
  typed_ = {"kvm-13", "kvm-12"};
  EXPECT_THAT(Run(Command::kRestartVmm), ExitsWith(ExitCode::kAborted));
  EXPECT_THAT(err_, HasSubstr("db, web will stand still"));
  EXPECT_THAT(fake_.calls, Not(Contains("RestartVmm")));
  EXPECT_THAT(Run(Command::kRestartVmm), ExitsWith(ExitCode::kOk));
  EXPECT_THAT(fake_.restart_request.vms(), ElementsAre("db", "web"));
  EXPECT_FALSE(fake_.restart_request.rehearsal());
}

TEST_F(CommandsTest, ARehearsalComesAfterTheChecksWordOnThatVm) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  options_.yes = true;
  options_.rehearse_vm = "db";
  Finding& finding = *fake_.check.add_findings();
  finding.set_code("BLOCK_JOB");
  finding.set_subject("db");
  finding.set_severity(Finding::ERROR);
  EXPECT_THAT(Run(Command::kCheck), ExitsWith(ExitCode::kNoGo));
  EXPECT_THAT(out_, HasSubstr("BLOCK_JOB"));
  EXPECT_THAT(fake_.calls, Not(Contains("RestartVmm")));

  finding.set_subject("web");  // It has nothing to do with the rehearsal.
  EXPECT_THAT(Run(Command::kCheck), ExitsWith(ExitCode::kOk));
  EXPECT_THAT(fake_.restart_request.vms(), ElementsAre("db"));
  EXPECT_TRUE(fake_.restart_request.rehearsal());
}

TEST_F(CommandsTest, RollbackGoesWhereTheLastSuccessfulUpdateCameFrom) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  options_.yes = true;
  // The last update failed; the one before it, by op-1, went from old to new.
  fake_.reports[""] = Report("op-2", UpdateReport::FAILED_UNHARMED, "x", "");
  fake_.reports["op-1"] =
      Report("op-1", UpdateReport::UPDATED, "6.1.0-47", "6.1.0-56");
  fake_.info.mutable_status()->set_kernel("6.1.0-56");
  EXPECT_THAT(Run(Command::kRollback), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.execute_request.target().kernel(), "/boot/vmlinuz-6.1.0-47");
  EXPECT_EQ(fake_.execute_request.target().initrd(),
            "/boot/initrd.img-6.1.0-47");
  EXPECT_THAT(err_, AllOf(HasSubstr("back into 6.1.0-47"),
                          HasSubstr("/boot/vmlinuz-6.1.0-47")));
}

TEST_F(CommandsTest, RollbackTakesAReportThatNoOperationMade) {
  AddUpdate(v1::Operation::SUCCEEDED, 0);
  options_.yes = true;
  fake_.reports[""] = Report("h", UpdateReport::UPDATED, "6.1.0-50", "6.1.0-5");
  EXPECT_THAT(Run(Command::kRollback), ExitsWith(ExitCode::kOk));
  EXPECT_EQ(fake_.execute_request.target().kernel(), "/boot/vmlinuz-6.1.0-50");
}

TEST_F(CommandsTest, RollbackWithNothingToGoBackToDoesNothing) {
  options_.yes = true;
  EXPECT_THAT(Run(Command::kRollback), ExitsWith(ExitCode::kNothingToDo));
  for (const char* from : {"", "../../tmp/k", "running"}) {
    fake_.reports[""] = Report("u", UpdateReport::UPDATED, from, "b");
    fake_.info.mutable_status()->set_kernel("running");
    EXPECT_THAT(Run(Command::kRollback), ExitsWith(ExitCode::kNothingToDo));
  }
  EXPECT_THAT(fake_.calls, Not(Contains("Execute")));
}

}  // namespace
}  // namespace live_update::ctl
