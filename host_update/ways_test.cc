#include "host_update/ways.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMib = uint64_t{1} << 20;

ExaminedVm Vm(const std::string& name, VmState state = VmState::kRunning) {
  ExaminedVm vm;
  vm.info = {.ref = {.name = name, .uuid = "uuid of " + name},
             .state = state,
             .persistent = true};
  VmFacts facts;
  facts.info = vm.info;
  facts.ram.push_back({.name = "pc.ram", .size_bytes = 256 * kMib});
  vm.facts = std::move(facts);
  return vm;
}

class WaysTest : public ::testing::Test {
 protected:
  WaysTest() {
    host_.preserved =
        PreservedMount{.directory = "/ram", .free_bytes = 1024 * kMib};
  }

  void Finds(const std::string& vm, const std::string& code,
             const std::string& message) {
    Finding& finding = *report_.add_findings();
    finding.set_code(code);
    finding.set_severity(Finding::ERROR);
    finding.set_subject(vm);
    finding.set_message(message);
    finding.set_remedy("mend it");
  }

  // Of one VM, the last added.
  VmWay Decide() {
    ways_ = DecideWays({.policy = policy_,
                        .asked = asked_,
                        .vms = vms_,
                        .host = host_,
                        .backend = backend_,
                        .state_area_bytes = 48 * kMib},
                       report_);
    return ways_.back();
  }

  const Finding* Find(const std::string& code) {
    for (const Finding& finding : report_.findings()) {
      if (finding.code() == code) return &finding;
    }
    return nullptr;
  }

  void SetPolicy(const std::string& text) { policy_ = ParsePolicy(text, "p"); }

  std::vector<ExaminedVm> vms_;
  absl::StatusOr<Policy> policy_ = Policy();
  WayByVm asked_;
  HostFacts host_;
  Backend backend_ = Backend::kDax;
  CheckReport report_;
  std::vector<VmWay> ways_;
};

TEST_F(WaysTest, InPlaceIsTheDefaultAndSaysNothing) {
  vms_.push_back(Vm("off", VmState::kOff));
  vms_.push_back(Vm("vm1"));
  EXPECT_EQ(Decide().way, Policy::IN_PLACE);
  EXPECT_EQ(ways_.size(), 1);
  EXPECT_TRUE(report_.go());
  EXPECT_THAT(report_.findings(), IsEmpty());
  ASSERT_EQ(report_.vms_size(), 1);
  EXPECT_EQ(report_.vms(0).way(), "in-place");
  EXPECT_EQ(report_.vms(0).ram_bytes(), 256 * kMib);
}

TEST_F(WaysTest, TheCommandLineGoesBeforeMetadataAndThoseBeforeTheFile) {
  vms_.push_back(Vm("vm1"));
  SetPolicy(R"(vm { name: "*" way: SHUTDOWN restore_priority: 1 })");
  EXPECT_EQ(Decide().way, Policy::SHUTDOWN);
  EXPECT_THAT(ways_[0].why, HasSubstr("rule 1 of the policy file"));
  vms_[0].facts->policy = {{"way", "managedsave"}, {"priority", "2"}};
  EXPECT_EQ(Decide().way, Policy::MANAGEDSAVE);
  EXPECT_THAT(ways_[0].why, HasSubstr("metadata"));
  asked_["vm1"] = "in-place";
  EXPECT_EQ(Decide().way, Policy::IN_PLACE);
  EXPECT_EQ(ways_[0].restore_priority, 2);  // Only the way was asked for.
  asked_ = {{"uuid of vm1", "copy"}};
  EXPECT_EQ(Decide().way, Policy::COPY);
  EXPECT_TRUE(report_.go());
}

TEST_F(WaysTest, WithoutAWayItIsRefusedWithTheChoices) {
  vms_.push_back(Vm("vm1"));
  Finds("vm1", "RAM_NOT_SHARED", "RAM block pc.ram is private memory");
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_THAT(ways_[0].choices, ElementsAre("copy", "managedsave", "shutdown"));
  EXPECT_THAT(ways_[0].why, HasSubstr("private memory"));
  EXPECT_FALSE(report_.go());
  ASSERT_NE(Find("WAY"), nullptr);
  EXPECT_THAT(Find("WAY")->message(), HasSubstr("copy, managedsave, shutdown"));
  EXPECT_EQ(Find("WAY")->severity(), Finding::ERROR);
  EXPECT_EQ(report_.vms(0).way(), "refuse");
  EXPECT_EQ(report_.vms(0).choices_size(), 3);
}

TEST_F(WaysTest, WhatIsInTheWayInPlaceIsNoteForAnotherWay) {
  vms_.push_back(Vm("vm1"));
  vms_.push_back(Vm("vm2"));
  Finds("vm1", "RAM_NOT_SHARED", "private");
  asked_["vm1"] = "managedsave";
  Decide();
  EXPECT_EQ(ways_[0].way, Policy::MANAGEDSAVE);
  EXPECT_TRUE(report_.go());
  EXPECT_EQ(Find("RAM_NOT_SHARED")->severity(), Finding::OK);
  EXPECT_THAT(Find("RAM_NOT_SHARED")->message(),
              HasSubstr("no matter for managedsave: private"));
  EXPECT_EQ(Find("RAM_NOT_SHARED")->remedy(), "");
  EXPECT_EQ(Find("WAY")->severity(), Finding::OK);
}

TEST_F(WaysTest, AFallbackIsTakenOnlyWhereInPlaceIsNotPossible) {
  SetPolicy(R"(vm { name: "*" fallback: MANAGEDSAVE })");
  vms_.push_back(Vm("vm1"));
  EXPECT_EQ(Decide().way, Policy::IN_PLACE);
  Finds("vm1", "AUX_RAM_SHARE", "no aux-ram-share");
  EXPECT_EQ(Decide().way, Policy::MANAGEDSAVE);
  EXPECT_EQ(Find("WAY")->severity(), Finding::WARNING);
  EXPECT_THAT(Find("WAY")->message(), HasSubstr("no aux-ram-share"));
  EXPECT_TRUE(report_.go());
}

TEST_F(WaysTest, WhatIsInTheWayOfEveryWayRefuses) {
  vms_.push_back(Vm("vm1"));
  asked_["vm1"] = "managedsave";
  Finds("vm1", "BRIDGE_PRESENT", "no bridge");
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_FALSE(report_.go());
}

TEST_F(WaysTest, ATransientVmIsNeitherSavedByLibvirtNorShutDown) {
  vms_.push_back(Vm("vm1"));
  vms_[0].facts->info.persistent = vms_[0].info.persistent = false;
  for (const char* way : {"managedsave", "shutdown"}) {
    asked_["vm1"] = way;
    report_.Clear();
    EXPECT_EQ(Decide().way, Policy::REFUSE) << way;
    EXPECT_THAT(Find("WAY")->message(), HasSubstr("transient"));
    EXPECT_THAT(ways_[0].choices, ElementsAre("in-place", "copy"));
  }
}

TEST_F(WaysTest, APausedVmCantBeShutDown) {
  vms_.push_back(Vm("vm1", VmState::kPaused));
  asked_["vm1"] = "shutdown";
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_THAT(Find("WAY")->message(), HasSubstr("paused"));
  asked_["vm1"] = "managedsave";
  report_.Clear();
  EXPECT_EQ(Decide().way, Policy::MANAGEDSAVE);
}

TEST_F(WaysTest, WhatQemuOrADeviceHasAgainstSavingRefuses) {
  vms_.push_back(Vm("vm1"));
  asked_["vm1"] = "managedsave";
  vms_[0].facts->unsupported = {"hostdev pci 0000:3b:00.0"};
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_THAT(ways_[0].choices, Contains("shutdown"));
  vms_[0].facts->unsupported = {"memoryBacking hugepages"};
  report_.Clear();
  EXPECT_EQ(Decide().way, Policy::MANAGEDSAVE);
  vms_[0].facts->save_blocked_reasons = {"9pfs is mounted"};
  report_.Clear();
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_THAT(Find("WAY")->message(), HasSubstr("9pfs"));
}

TEST_F(WaysTest, CopiesShareTheRoomThatIsThere) {
  for (const char* name : {"vm1", "vm2", "vm3", "vm4"}) {
    vms_.push_back(Vm(name));
    asked_[name] = "copy";
  }
  host_.preserved->free_bytes = 48 * kMib + 3 * CopyBytesFor(256 * kMib);
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_EQ(ways_[2].way, Policy::COPY);
  EXPECT_EQ(Find("COPY_SPACE")->subject(), "vm4");
  EXPECT_THAT(Find("COPY_SPACE")->message(), HasSubstr("321 MiB"));
}

TEST_F(WaysTest, LuoKeepsNoCopies) {
  vms_.push_back(Vm("vm1"));
  asked_["vm1"] = "copy";
  backend_ = Backend::kLuo;
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  ASSERT_NE(Find("COPY_BACKEND"), nullptr);
}

TEST_F(WaysTest, APolicyThatCantBeReadIsNoGo) {
  vms_.push_back(Vm("vm1"));
  policy_ = absl::InvalidArgumentError("/etc/p:3:1: what?");
  Decide();
  EXPECT_FALSE(report_.go());
  EXPECT_THAT(Find("POLICY")->message(), HasSubstr("/etc/p:3:1"));
  policy_ = Policy();
  vms_[0].facts->policy = {{"wya", "copy"}};
  report_.Clear();
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_THAT(Find("VM_POLICY")->message(), HasSubstr("wya"));
}

TEST_F(WaysTest, AVmThatIsNotThereIsAnError) {
  vms_.push_back(Vm("vm1"));
  asked_["vm7"] = "copy";
  Decide();
  EXPECT_FALSE(report_.go());
  EXPECT_THAT(Find("POLICY")->message(), HasSubstr("vm7"));
}

TEST_F(WaysTest, RefusedByPolicyItNamesWhatIsPossible) {
  SetPolicy(R"(vm { name: "vm1" way: REFUSE })");
  vms_.push_back(Vm("vm1"));
  EXPECT_EQ(Decide().way, Policy::REFUSE);
  EXPECT_THAT(Find("WAY")->message(), HasSubstr("refused, by rule 1"));
  EXPECT_THAT(ways_[0].choices, Contains("in-place"));
}

}  // namespace
}  // namespace live_update
