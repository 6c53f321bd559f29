#include "host_update/enable.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

class EnableTest : public ::testing::Test {
 protected:
  EnableTest() { host_.hypervisor().AddVm("vm1", VmState::kRunning, "memory"); }
  const std::string& definition() {
    return host_.hypervisor().vm("vm1").definition;
  }
  FakeHost host_;
};

TEST_F(EnableTest, ChangesTheDefinitionAndBack) {
  const std::string before = definition();
  absl::StatusOr<EnableReport> report = EnableVm({.vm = "vm1"}, host_.deps());
  ASSERT_THAT(report, IsOk());
  EXPECT_TRUE(report->changed());
  EXPECT_EQ(report->diff(), absl::StrCat("-", before, "\n+memory from file\n"));
  EXPECT_THAT(report->takes_effect(), HasSubstr("next start"));
  EXPECT_EQ(definition(), "memory from file");

  // Again, and with the other backend: the first definition is what counts.
  report = EnableVm({.vm = "vm1"}, host_.deps());
  ASSERT_THAT(report, IsOk());
  EXPECT_FALSE(report->changed());
  ASSERT_THAT(EnableVm({.vm = "vm1", .backend = "luo"}, host_.deps()), IsOk());
  EXPECT_EQ(definition(), "memory from memfd");

  report = EnableVm({.vm = "vm1", .undo = true}, host_.deps());
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(definition(), before);
  EXPECT_THAT(EnableVm({.vm = "vm1", .undo = true}, host_.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("undo")));
}

TEST_F(EnableTest, ADryRunChangesNothing) {
  const std::string before = definition();
  const absl::StatusOr<EnableReport> report =
      EnableVm({.vm = "vm1", .dry_run = true}, host_.deps());
  ASSERT_THAT(report, IsOk());
  EXPECT_TRUE(report->changed());
  EXPECT_EQ(definition(), before);
  EXPECT_THAT(EnableVm({.vm = "vm1", .undo = true}, host_.deps()),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(EnableTest, WhatCannotBeChangedIsAsItWas) {
  const std::string before = definition();
  host_.hypervisor().FailNext("EditDefinition", "vm1",
                              absl::FailedPreconditionError("transient"));
  EXPECT_THAT(EnableVm({.vm = "vm1"}, host_.deps()),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_EQ(definition(), before);
  EXPECT_THAT(EnableVm({.vm = "none"}, host_.deps()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

}  // namespace
}  // namespace live_update
