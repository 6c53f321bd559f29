#include "host_update/predict.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/history.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::testing::HasSubstr;

void AddUpdate(FakeHost& host, int number, double host_s, double vm_s,
               UpdateReport::Result result = UpdateReport::UPDATED) {
  UpdateReport report;
  report.set_update_id(absl::StrCat("update-", number));
  report.set_started_at(absl::StrCat("2026-11-0", number, "T00:00:00Z"));
  report.set_result(result);
  report.set_host_blackout_s(host_s);
  VmReport& vm = *report.add_vms();
  vm.set_uuid("vm1");
  vm.set_blackout_s(vm_s);
  ASSERT_THAT(WriteReport(host.deps().paths.state_dir, report), IsOk());
}

TEST(PredictTest, NothingToPredictFromIsSaid) {
  FakeHost host;
  const BlackoutPrediction prediction = PredictBlackout(host.deps());
  EXPECT_EQ(prediction.host_s, 0);
  EXPECT_EQ(prediction.VmSeconds("vm1"), 0);
  EXPECT_THAT(prediction.basis, HasSubstr("no successful update"));
}

TEST(PredictTest, TakesMediansOfWhatWasSuccessful) {
  FakeHost host;
  AddUpdate(host, 1, 10, 8);
  AddUpdate(host, 2, 100, 90, UpdateReport::PARTIAL);
  AddUpdate(host, 3, 12, 9);
  AddUpdate(host, 4, 50, 40);
  const BlackoutPrediction prediction = PredictBlackout(host.deps());
  EXPECT_EQ(prediction.host_s, 12);
  EXPECT_EQ(prediction.VmSeconds("vm1"), 9);
  EXPECT_EQ(prediction.VmSeconds("new here"), 12);
  EXPECT_THAT(prediction.basis, HasSubstr("last 3"));
}

TEST(PredictTest, AFirstUpdateIsPredictedFromTheBoot) {
  FakeHost host;
  ClockSample first_line;
  first_line.set_boottime_ns(5'100'000'000);
  NoteRestorerStart(first_line, host.deps());
  first_line.set_boottime_ns(999'000'000'000);  // By hand, later.
  NoteRestorerStart(first_line, host.deps());
  const BlackoutPrediction prediction = PredictBlackout(host.deps());
  EXPECT_NEAR(prediction.host_s, 10, 0.1);
  EXPECT_THAT(prediction.basis, HasSubstr("a model"));
}

TEST(PredictTest, ABootThatTookForEverTellsNothing) {
  FakeHost host;
  ClockSample first_line;
  first_line.set_boottime_ns(5'000'000'000'000);
  NoteRestorerStart(first_line, host.deps());
  EXPECT_EQ(PredictBlackout(host.deps()).host_s, 0);
}

}  // namespace
}  // namespace live_update
