#include "testing/faults/sweep.h"

#include <map>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace live_update::testing {
namespace {

class SweepTest : public ::testing::TestWithParam<const char*> {};

// Of one backend and number of VMs: half a minute each.
TEST_P(SweepTest, NoFaultLosesAVmSilently) {
  std::map<Outcome, int> counts;
  for (const SweepCase& sweep_case : AllSweepCases()) {
    if (CaseName(sweep_case).rfind(GetParam(), 0) != 0) continue;
    const SweepRow row = RunSweepCase(sweep_case);
    ++counts[row.outcome];
    EXPECT_NE(row.outcome, Outcome::kLostSilently)
        << row.name << ": " << row.detail;
    EXPECT_NE(row.outcome, Outcome::kUnclear) << row.name << ": " << row.detail;
  }
  // A sweep in which each run ends alike has tested nothing.
  EXPECT_GT(counts[Outcome::kAllOnOld], 50);
  EXPECT_GT(counts[Outcome::kAllOnNew], 20);
  EXPECT_GT(counts[Outcome::kReportedRecoverable], 2);
  EXPECT_GT(counts[Outcome::kReportedLost], 2);
}

INSTANTIATE_TEST_SUITE_P(Backends, SweepTest,
                         ::testing::Values("dax/1", "dax/3", "luo/1", "luo/3"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           name[3] = '_';
                           return name;
                         });

TEST(SweepTest, EveryPhaseAndEveryActionIsInIt) {
  std::set<Phase> phases;
  std::set<FaultAction> actions;
  for (const SweepCase& sweep_case : AllSweepCases()) {
    phases.insert(InfoOf(sweep_case.fault.point).phase);
    actions.insert(sweep_case.fault.action);
  }
  EXPECT_EQ(phases.size(), 8);  // All but check, which changes nothing.
  EXPECT_EQ(actions.size(), FaultActions().size());
}

}  // namespace
}  // namespace live_update::testing
