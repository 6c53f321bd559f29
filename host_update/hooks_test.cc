#include "host_update/hooks.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/history.h"
#include "host_update/journal.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "host_update/undo.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A host whose hooks write down that they ran.
class HooksTest : public ::testing::Test {
 protected:
  HooksTest() { host_.hypervisor().AddVm("vm1", VmState::kRunning, "memory"); }

  std::string Path(const std::string& kind_and_name) {
    return absl::StrCat(host_.deps().paths.hooks_dir, "/", kind_and_name);
  }

  // Below the hooks' folder, so that it outlives a Kexec().
  std::string RecordPath() { return Path("record"); }

  void Put(const std::string& kind_and_name, const std::string& script,
           mode_t mode = 0755) {
    const std::string path = Path(kind_and_name);
    std::filesystem::create_directories(
        std::filesystem::path(path).parent_path());
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    chmod(path.c_str(), mode);
  }

  // One that writes a line: its kind, its name, and what `words` expands to.
  void PutRecorder(const std::string& kind, const std::string& name,
                   const std::string& words = "") {
    Put(absl::StrCat(kind, "/", name),
        absl::StrCat("echo $HOST_UPDATE_HOOK ", name, " ", words, " >> ",
                     RecordPath()));
  }

  std::vector<std::string> Record() {
    std::vector<std::string> lines;
    std::ifstream file(RecordPath());
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  LiveUpdateResult Update() {
    UpdateRequest request = host_.Request();
    request.update_id = "the-update";
    return LiveUpdate(request, host_.deps());
  }

  FakeHost host_;
};

TEST_F(HooksTest, RunAtTheirPlacesInTheirOrder) {
  PutRecorder("notify", "20-b", "$HOST_UPDATE_ID $HOST_UPDATE_KERNEL");
  PutRecorder("notify", "10-a");
  PutRecorder("pre-pause", "ha");
  PutRecorder("post-resume", "ha", "$HOST_UPDATE_RESULT $HOST_UPDATE_KERNEL");
  host_.OnEntering(Phase::kPause, [this] {
    EXPECT_THAT(Record(), ElementsAre("notify 10-a", _, "pre-pause ha"));
  });
  ASSERT_THAT(Update().status, IsOk());
  host_.Kexec(7);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host_.clock().Sample(), host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_THAT(report.findings(), IsEmpty());
  EXPECT_THAT(
      Record(),
      ElementsAre("notify 10-a", "notify 20-b the-update /boot/vmlinuz-next",
                  "pre-pause ha", "post-resume ha UPDATED /boot/vmlinuz-next"));
}

TEST_F(HooksTest, AreToldWhatIsPredictedAndWhatItWas) {
  PutRecorder("notify", "a", "$HOST_UPDATE_PREDICTED_BLACKOUT_S");
  PutRecorder("post-resume", "a", "$HOST_UPDATE_BLACKOUT_S");
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(LiveUpdate(host_.Request(), host_.deps()).status, IsOk());
    host_.Kexec(7);
    ASSERT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()).status(),
                IsOk());
  }
  EXPECT_THAT(Record(), ElementsAre("notify a", "post-resume a 7.1",
                                    "notify a 7.1", "post-resume a 7.1"));
}

TEST_F(HooksTest, ThePlanNamesThem) {
  PutRecorder("pre-pause", "ha");
  PutRecorder("notify", "mail");
  ASSERT_OK_AND_ASSIGN(const UpdatePlan plan,
                       PlanUpdate(host_.Request(), host_.deps()));
  ASSERT_EQ(plan.hooks_size(), 2);
  EXPECT_EQ(plan.hooks(0).when(), "notify");
  EXPECT_EQ(plan.hooks(0).name(), "mail");
  EXPECT_EQ(plan.hooks(1).when(), "pre-pause");
  EXPECT_EQ(plan.hooks(1).limit_s(), 5);
  PutRecorder("notify", "another");
  ASSERT_OK_AND_ASSIGN(const UpdatePlan later,
                       PlanUpdate(host_.Request(), host_.deps()));
  EXPECT_NE(later.plan_hash(), plan.plan_hash());
  EXPECT_THAT(Record(), IsEmpty());
}

TEST_F(HooksTest, OneThatFailsStopsTheUpdateAndIsNamed) {
  PutRecorder("post-resume", "ha", "$HOST_UPDATE_RESULT");
  for (const char* kind : {"notify", "pre-pause"}) {
    Put(absl::StrCat(kind, "/10-ha"), "echo no quorum; exit 3");
    PutRecorder(kind, "20-never");
    const LiveUpdateResult result = Update();
    EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
    EXPECT_EQ(result.report.failed_phase(), "prepare");
    EXPECT_THAT(result.report.reason(),
                AllOf(HasSubstr(absl::StrCat(kind, " hook 10-ha")),
                      HasSubstr("exit status 3"), HasSubstr("no quorum")));
    EXPECT_EQ(host_.hypervisor().vm("vm1").info.state, VmState::kRunning);
    EXPECT_FALSE(*host_.kexec().IsStaged());
    EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
    std::filesystem::remove_all(Path(kind));
  }
  EXPECT_THAT(Record(), ElementsAre("post-resume ha FAILED_UNHARMED",
                                    "post-resume ha FAILED_UNHARMED"));
}

TEST_F(HooksTest, OneThatHangsStopsTheUpdateAtItsLimit) {
  host_.deps().limits.pre_pause_hook = absl::Milliseconds(200);
  Put("pre-pause/ha", "sleep 60");
  const LiveUpdateResult result = Update();
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                      HasSubstr("pre-pause hook ha")));
  EXPECT_EQ(result.report.result(), UpdateReport::FAILED_UNHARMED);
}

TEST_F(HooksTest, AnUpdateThatIsToStopDoesNotWaitForThem) {
  host_.deps().stop_asked = [] { return true; };
  Put("notify/ha", "sleep 60");
  EXPECT_THAT(Update().status, StatusIs(absl::StatusCode::kCancelled,
                                        HasSubstr("notify hook ha")));
}

TEST_F(HooksTest, PostResumeRunsOnlyIfNotifyHadBegun) {
  PutRecorder("post-resume", "ha", "$HOST_UPDATE_RESULT");
  host_.FailOn(Phase::kPrepare);
  EXPECT_FALSE(Update().status.ok());
  EXPECT_THAT(Record(), IsEmpty());
  host_.FailOn(Phase::kCommit);
  EXPECT_FALSE(Update().status.ok());
  EXPECT_THAT(Record(), ElementsAre("post-resume ha FAILED_UNHARMED"));
}

TEST_F(HooksTest, PostResumeRunsWhenAnUpdateThatWasCutOffIsTakenBack) {
  PutRecorder("notify", "ha");
  PutRecorder("post-resume", "ha", "$HOST_UPDATE_ID $HOST_UPDATE_RESULT");
  EXPECT_DEATH(
      {
        host_.DieOn(Phase::kCommit);
        (void)Update();
      },
      "");
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  EXPECT_THAT(UndoInterruptedUpdate(host_.deps()), IsOk());
  EXPECT_THAT(
      Record(),
      ElementsAre("notify ha", "post-resume ha the-update FAILED_UNHARMED"));
}

TEST_F(HooksTest, PostResumeTellsOfAVmThatIsNotBack) {
  PutRecorder("post-resume", "ha", "$HOST_UPDATE_RESULT");
  ASSERT_THAT(Update().status, IsOk());
  host_.Kexec(1);
  host_.hypervisor().FailNext("Restore", "vm1", absl::InternalError("no"));
  ASSERT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()).status(),
              IsOk());
  EXPECT_THAT(Record(), ElementsAre("post-resume ha PARTIAL"));
}

TEST_F(HooksTest, PostResumeRunsWhenTheHandoverIsRefused) {
  PutRecorder("post-resume", "ha", "$HOST_UPDATE_ID $HOST_UPDATE_RESULT");
  ASSERT_THAT(Update().status, IsOk());
  host_.FlipHandoverByte(9);
  host_.Kexec(1);
  ASSERT_THAT(RestoreAll(host_.clock().Sample(), host_.deps()).status(),
              IsOk());
  EXPECT_THAT(Record(), ElementsAre("post-resume ha the-update "
                                    "HANDOVER_REFUSED"));
}

TEST_F(HooksTest, PostResumeThatFailsIsAFindingAndTheOthersRun) {
  Put("post-resume/10-bad", "exit 9");
  PutRecorder("post-resume", "20-good");
  ASSERT_THAT(Update().status, IsOk());
  host_.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host_.clock().Sample(), host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED);
  ASSERT_EQ(report.findings_size(), 1) << report.DebugString();
  EXPECT_EQ(report.findings(0).code(), "HOOK_FAILED");
  EXPECT_THAT(report.findings(0).message(),
              HasSubstr("post-resume hook 10-bad: exit status 9"));
  EXPECT_THAT(Record(), ElementsAre("post-resume 20-good"));
  // It is in the report that is kept.
  ASSERT_OK_AND_ASSIGN(const UpdateReport kept,
                       ReadReport(host_.deps().paths.state_dir, ""));
  EXPECT_EQ(kept.findings_size(), 1);
}

TEST_F(HooksTest, AreThoseThatRunPartsWouldRun) {
  for (const char* name :
       {"10-a", "B_2", "README.md", "a.dpkg-old", ".hidden", "a~"}) {
    Put(absl::StrCat("notify/", name), "");
  }
  Put("notify/off", "", 0644);
  ASSERT_OK_AND_ASSIGN(const HookFiles files,
                       ListHooks(Path(""), HookKind::kNotify));
  EXPECT_THAT(files.names, ElementsAre("10-a", "B_2"));
  EXPECT_THAT(files.refused, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const HookFiles none,
                       ListHooks(Path(""), HookKind::kPrePause));
  EXPECT_THAT(none.names, IsEmpty());
}

TEST_F(HooksTest, WhatOthersCouldHaveWrittenIsRefused) {
  Put("notify/a", "", 0775);
  Put("notify/b", "", 0757);
  Put("notify/c", "");
  std::filesystem::create_symlink("c", Path("notify/d"));
  std::filesystem::create_directory(Path("notify/e"));
  ASSERT_OK_AND_ASSIGN(HookFiles files, ListHooks(Path(""), HookKind::kNotify));
  EXPECT_THAT(files.names, ElementsAre("c"));
  EXPECT_THAT(files.refused,
              ElementsAre(AllOf(HasSubstr("notify/a"), HasSubstr("0775")),
                          AllOf(HasSubstr("notify/b"), HasSubstr("0757")),
                          AllOf(HasSubstr("notify/d"), HasSubstr("regular")),
                          AllOf(HasSubstr("notify/e"), HasSubstr("regular"))));
  // Nobody else's, however harmless its mode.
  if (chown(Path("notify/c").c_str(), 4711, 0) == 0) {
    ASSERT_OK_AND_ASSIGN(files, ListHooks(Path(""), HookKind::kNotify));
    EXPECT_THAT(files.names, IsEmpty());
    EXPECT_THAT(files.refused[2],
                AllOf(HasSubstr("notify/c"), HasSubstr("uid 4711")));
  }
}

TEST_F(HooksTest, AFolderThatOthersCanWriteHasNoTrustedHook) {
  Put("notify/a", "");
  chmod(Path("notify").c_str(), 0777);
  ASSERT_OK_AND_ASSIGN(const HookFiles files,
                       ListHooks(Path(""), HookKind::kNotify));
  EXPECT_THAT(files.names, IsEmpty());
  EXPECT_THAT(files.refused, ElementsAre(HasSubstr("its folder")));
}

TEST_F(HooksTest, ARefusedOneStopsTheUpdateAndFailsTheCheck) {
  Put("pre-pause/ha", "", 0777);
  EXPECT_THAT(Update().status,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("pre-pause/ha"), HasSubstr("0777"))));
  std::vector<std::string> refused;
  host_.deps().evaluate = [&refused](const PreflightInput& input) {
    refused.assign(input.refused_hooks.begin(), input.refused_hooks.end());
    return CheckReport();
  };
  ASSERT_THAT(CheckHost(host_.Request(), host_.deps()).status(), IsOk());
  EXPECT_THAT(refused, ElementsAre(HasSubstr("pre-pause/ha")));
}

}  // namespace
}  // namespace live_update
