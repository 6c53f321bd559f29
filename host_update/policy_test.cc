#include "host_update/policy.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr char kUuid[] = "11111111-2222-3333-4444-00000000000a";

TEST(PolicyTest, TheFirstRuleThatFitsHolds) {
  ASSERT_OK_AND_ASSIGN(const Policy policy, ParsePolicy(R"(
      parallelism: 4
      vm { uuid: "11111111-2222-3333-4444-00000000000A" way: REFUSE }
      vm { name: "db-*" way: IN_PLACE fallback: MANAGEDSAVE
           restore_priority: 10 guest_clock: LEAVE }
      vm { name: "*" way: SHUTDOWN shutdown_timeout_s: 30 })",
                                                        "p"));
  EXPECT_EQ(policy.parallelism(), 4);
  EXPECT_EQ(FindRule(policy, "db-1", kUuid).first, 1);
  EXPECT_EQ(FindRule(policy, "db-1", "other").first, 2);
  const auto [number, rule] = FindRule(policy, "web", "other");
  ASSERT_EQ(number, 3);
  EXPECT_EQ(rule->way(), Policy::SHUTDOWN);
  EXPECT_EQ(ShutdownTimeoutOf(*rule), absl::Seconds(30));
  EXPECT_EQ(FindRule(Policy(), "web", "other").second, nullptr);
}

TEST(PolicyTest, AnErrorSaysItsLine) {
  EXPECT_THAT(ParsePolicy("parallelism: 4\nvm { nmae: \"a\" }\n", "/etc/p"),
              StatusIs(kInvalid, HasSubstr("/etc/p:2:")));
  EXPECT_THAT(ParsePolicy("vm { name: \"a\" way: MOVE }", "p"),
              StatusIs(kInvalid, HasSubstr("MOVE")));
}

TEST(PolicyTest, WhatCantBeIsRefused) {
  const auto refuses = [](absl::string_view text, absl::string_view word) {
    EXPECT_THAT(ParsePolicy(text, "p"),
                StatusIs(kInvalid, HasSubstr(std::string(word))))
        << text;
  };
  refuses("vm { way: COPY }", "rule 1: it names no VM");
  refuses("vm { name: \"a\" } vm { name: \"b\" way: 9 }", "way");
  refuses("vm { name: \"a\" way: COPY fallback: SHUTDOWN }", "fallback");
  refuses("vm { name: \"a\" fallback: IN_PLACE }", "no fallback of itself");
  refuses("vm { name: \"a\" restore_priority: 1001 }", "1001");
  refuses("vm { name: \"a\" shutdown_timeout_s: 3601 }", "3601");
  refuses("parallelism: 65", "65");
}

TEST(PolicyTest, NoFileIsAnEmptyPolicyAndATooLargeOneAnError) {
  const std::string path = ::testing::TempDir() + "/policy.textproto";
  std::filesystem::remove(path);
  ASSERT_OK_AND_ASSIGN(const Policy none, ReadPolicy(path));
  EXPECT_EQ(none.vm_size(), 0);
  std::ofstream(path) << std::string((1 << 20) + 1, '#');
  EXPECT_FALSE(ReadPolicy(path).ok());
  std::ofstream(path) << "vm { name: \"a\" }";
  ASSERT_OK_AND_ASSIGN(const Policy one, ReadPolicy(path));
  EXPECT_EQ(one.vm_size(), 1);
}

TEST(PolicyTest, TheExampleIsOne) {
  ASSERT_OK_AND_ASSIGN(const Policy policy,
                       ReadPolicy("packaging/examples/policy.textproto"));
  EXPECT_GT(policy.vm_size(), 0);
}

TEST(PolicyTest, MetadataAreReadWordByWord) {
  ASSERT_OK_AND_ASSIGN(const Policy::Rule rule,
                       RuleOfMetadata({{"way", "in-place"},
                                       {"fallback", "shutdown"},
                                       {"priority", "-5"},
                                       {"guest-clock", "leave"},
                                       {"shutdown-timeout", "7"}}));
  EXPECT_EQ(rule.way(), Policy::IN_PLACE);
  EXPECT_EQ(rule.fallback(), Policy::SHUTDOWN);
  EXPECT_EQ(rule.restore_priority(), -5);
  EXPECT_EQ(rule.guest_clock(), Policy::LEAVE);
  EXPECT_EQ(ShutdownTimeoutOf(rule), absl::Seconds(7));
  EXPECT_THAT(RuleOfMetadata({{"prio", "5"}}),
              StatusIs(kInvalid, HasSubstr("prio")));
  EXPECT_THAT(RuleOfMetadata({{"way", "mo\nve"}}),
              StatusIs(kInvalid, HasSubstr("mo\\nve")));
  EXPECT_THAT(RuleOfMetadata({{"priority", "99999999999"}}),
              StatusIs(kInvalid, HasSubstr("no number")));
  EXPECT_FALSE(RuleOfMetadata({{"priority", "1001"}}).ok());
  EXPECT_FALSE(RuleOfMetadata({{"guest-clock", "no"}}).ok());
  EXPECT_FALSE(RuleOfMetadata({{"shutdown-timeout", "0"}}).ok());
  EXPECT_FALSE(RuleOfMetadata({{"way", "copy"}, {"fallback", "copy"}}).ok());
}

TEST(PolicyTest, WaysOfTheCommandLineAreTakenApart) {
  WayByVm ways;
  EXPECT_THAT(AddWay("vm1=managedsave", ways), IsOk());
  EXPECT_THAT(AddWay("a=b=copy", ways), IsOk());
  EXPECT_EQ(ways.at("vm1"), "managedsave");
  EXPECT_EQ(ways.at("a=b"), "copy");
  EXPECT_THAT(AddWay("vm1=copy", ways), StatusIs(kInvalid, HasSubstr("two")));
  EXPECT_THAT(AddWay("vm2", ways), StatusIs(kInvalid, HasSubstr("VM=WAY")));
  EXPECT_THAT(AddWay("vm2=", ways), StatusIs(kInvalid, HasSubstr("shutdown")));
  EXPECT_FALSE(AddWay("=copy", ways).ok());
}

}  // namespace
}  // namespace live_update
