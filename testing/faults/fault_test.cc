#include "testing/faults/fault.h"

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/faults/fault_injector.h"
#include "testing/status_matchers.h"

namespace live_update::testing {
namespace {

using ::testing::HasSubstr;

TEST(FaultTest, EveryPointAndActionIsReadAsItIsWritten) {
  int read = 0;
  for (const FaultPointInfo& point : FaultPoints()) {
    for (const FaultActionInfo& action : FaultActions()) {
      Fault fault{.point = point.point, .action = action.action};
      if (point.scope == FaultPointInfo::kVm) fault.vm = "vm-1";
      if (action.action == FaultAction::kKillQemu) fault.victim = "vm2";
      const absl::StatusOr<Fault> again = ParseFault(FaultText(fault));
      if (!again.ok()) {
        EXPECT_FALSE(HasImage(point.point)) << again.status();
        continue;
      }
      ++read;
      EXPECT_EQ(again->point, fault.point) << FaultText(fault);
      EXPECT_EQ(again->action, fault.action);
      EXPECT_EQ(again->vm, fault.vm);
      EXPECT_EQ(again->victim, fault.victim);
    }
  }
  EXPECT_GT(read, 200);
}

TEST(FaultTest, WhatIsNoFaultIsRefused) {
  for (const char* text :
       {"pause", "pause:", ":error", "pause:burn", "puase:error",
        "stage@vm1:eio", "retrieve:error", "pause:kill-qemu", "pause:error=vm1",
        "pause:flip"}) {
    EXPECT_THAT(ParseFault(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  }
  ASSERT_OK_AND_ASSIGN(const Fault none, ParseFault(""));
  EXPECT_EQ(none.point, FaultPoint::kNone);
}

TEST(FaultTest, APointIsMetForItsVmAlone) {
  ASSERT_OK_AND_ASSIGN(const Fault fault, ParseFault("save@vm2:enospc"));
  FaultInjector injector(fault, {});
  EXPECT_THAT(injector.Meet(FaultPoint::kSaveVm, "vm1", absl::InfiniteFuture()),
              IsOk());
  EXPECT_THAT(
      injector.Meet(FaultPoint::kPauseVm, "vm2", absl::InfiniteFuture()),
      IsOk());
  EXPECT_FALSE(injector.met());
  EXPECT_THAT(
      injector.Meet(FaultPoint::kSaveVm, "vm2", absl::InfiniteFuture()),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("No space")));
  EXPECT_TRUE(injector.met());
}

}  // namespace
}  // namespace live_update::testing
