#include "host_update/cli/options.h"

#include <fstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/cli/exit_code.h"

namespace live_update {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

std::variant<Options, int> Parse(std::vector<std::string> words) {
  words.insert(words.begin(), "host-update");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  return ParseOptions(static_cast<int>(arguments.size()), arguments.data());
}

TEST(WatchdogOptionTest, IsADeviceOfThatName) {
  const auto options = Parse(
      {"check", "--watchdog", "/dev/watchdog1", "--watchdog-timeout", "600"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_EQ(std::get<Options>(options).request.watchdog, "/dev/watchdog1");
  EXPECT_EQ(std::get<Options>(options).request.watchdog_timeout_s, 600);
  EXPECT_EQ(std::get<Options>(Parse({"check"})).request.watchdog, "");
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(
      std::holds_alternative<int>(Parse({"check", "--watchdog", "/dev/sda"})));
  EXPECT_TRUE(
      std::holds_alternative<int>(Parse({"check", "--watchdog-timeout", "5"})));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("/dev/watchdog*"));
}

TEST(OverrideOptionTest, MayBeGivenMoreThanOnce) {
  const auto options =
      Parse({"check", "--override=BLOCK_JOB", "--override", "TARGET_KVM"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_THAT(std::get<Options>(options).request.overrides,
              ElementsAre("BLOCK_JOB", "TARGET_KVM"));
}

TEST(OverrideOptionTest, IsOfUpdateAsWell) {
  const auto options = Parse(
      {"update", "--kernel", "k", "--initrd", "i", "--override=HOST_MEMORY"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_THAT(std::get<Options>(options).request.overrides,
              ElementsAre("HOST_MEMORY"));
}

TEST(OverrideOptionTest, IsAUsageErrorForWhatLosesVms) {
  for (const char* code : {"TARGET_CMDLINE", "TARGET_LUO_ABI", "TARGET_LUO",
                           "RAM_NOT_SHARED", "NO_SUCH_CODE"}) {
    ::testing::internal::CaptureStderr();
    const auto options = Parse({"check", std::string("--override=") + code});
    const std::string message = ::testing::internal::GetCapturedStderr();
    ASSERT_TRUE(std::holds_alternative<int>(options)) << code;
    EXPECT_EQ(std::get<int>(options), static_cast<int>(ExitCode::kUsage));
    EXPECT_THAT(message, AllOf(HasSubstr(code), HasSubstr("overridden")));
  }
}

TEST(DirectJumpOptionTest, MayNameWhereToEnter) {
  for (const auto& [word, value] :
       {std::pair("--direct-jump", "vmlinux"),
        std::pair("--direct-jump=bzimage", "bzimage"),
        std::pair("--direct-jump=off", "off")}) {
    for (const char* command : {"check", "prepare", "update"}) {
      const auto options =
          Parse({command, word, "--kernel", "k", "--initrd", "i"});
      ASSERT_TRUE(std::holds_alternative<Options>(options)) << word;
      EXPECT_EQ(std::get<Options>(options).request.direct_jump, value);
    }
  }
  const auto options = Parse({"check"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_EQ(std::get<Options>(options).request.direct_jump, "");
}

TEST(DirectJumpOptionTest, IsAUsageErrorWithAnotherWord) {
  const auto options = Parse({"check", "--direct-jump=zimage"});
  ASSERT_TRUE(std::holds_alternative<int>(options));
  EXPECT_EQ(std::get<int>(options), static_cast<int>(ExitCode::kUsage));
}

TEST(RestartVmmTest, TakesAnyNumberOfVms) {
  const auto all = Parse({"restart-vmm"});
  ASSERT_TRUE(std::holds_alternative<Options>(all));
  EXPECT_EQ(std::get<Options>(all).command, Command::kRestartVmm);
  EXPECT_THAT(std::get<Options>(all).restart_vms, IsEmpty());
  const auto two = Parse({"restart-vmm", "vm1", "vm2"});
  ASSERT_TRUE(std::holds_alternative<Options>(two));
  EXPECT_THAT(std::get<Options>(two).restart_vms, ElementsAre("vm1", "vm2"));
  EXPECT_FALSE(std::get<Options>(two).rehearsal);
}

TEST(RestartVmmTest, ARehearsalIsACheckOfOneVm) {
  const auto options = Parse({"check", "--rehearse", "vm1"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_EQ(std::get<Options>(options).command, Command::kRestartVmm);
  EXPECT_THAT(std::get<Options>(options).restart_vms, ElementsAre("vm1"));
  EXPECT_TRUE(std::get<Options>(options).rehearsal);
}

TEST(OverrideOptionTest, OverridesNothingByItself) {
  const auto options = Parse({"check"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_THAT(std::get<Options>(options).request.overrides, IsEmpty());
}

TEST(RescueOptionTest, IsAWordOfTheConfigurationFile) {
  const std::string config = ::testing::TempDir() + "/host-update.conf";
  for (const auto& [line, rescue] :
       {std::pair("rescue = on", true), std::pair("rescue = off", false),
        std::pair("backend = dax", false)}) {
    std::ofstream(config) << line << "\n";
    const auto options = Parse({"--config", config, "check"});
    ASSERT_TRUE(std::holds_alternative<Options>(options)) << line;
    EXPECT_EQ(std::get<Options>(options).request.rescue, rescue) << line;
  }
}

TEST(RescueOptionTest, AHangIsEndedUnlessItIsNot) {
  for (const auto& [word, seconds] :
       {std::pair("0", 0.0), std::pair("60", 60.0)}) {
    const auto options = Parse({"check", "--rescue-watchdog", word});
    ASSERT_TRUE(std::holds_alternative<Options>(options)) << word;
    EXPECT_EQ(std::get<Options>(options).request.rescue_watchdog_s, seconds);
  }
  EXPECT_EQ(std::get<Options>(Parse({"check"})).request.rescue_watchdog_s, 360);
  // A restore takes longer than that.
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(
      std::holds_alternative<int>(Parse({"check", "--rescue-watchdog", "5"})));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("--rescue-watchdog"));
}

TEST(RescueOptionTest, ArmingIsOneOfTheThingsThatRestoreDoes) {
  const auto options = Parse({"restore", "--arm-rescue"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_TRUE(std::get<Options>(options).arm_rescue);
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(std::holds_alternative<int>(
      Parse({"restore", "--arm-rescue", "--hold-autostart"})));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("--arm-rescue"));
}

TEST(GuestClockOptionTest, SetsClocksUnlessItIsToLeaveThem) {
  const std::vector<std::string> update = {"update", "--kernel", "k",
                                           "--no-initrd"};
  const auto leaves = [&update](const std::vector<std::string>& more) {
    std::vector<std::string> words = update;
    words.insert(words.end(), more.begin(), more.end());
    const auto options = Parse(words);
    return std::get<Options>(options).request.leave_guest_clocks;
  };
  EXPECT_FALSE(leaves({}));
  EXPECT_FALSE(leaves({"--guest-clock", "set"}));
  EXPECT_TRUE(leaves({"--guest-clock", "leave"}));
}

TEST(WayOptionTest, NamesAWayForEachVm) {
  const auto options =
      Parse({"check", "--way", "vm1=managedsave", "--way=a=b=copy"});
  ASSERT_TRUE(std::holds_alternative<Options>(options));
  EXPECT_THAT(std::get<Options>(options).request.ways,
              ElementsAre(Pair("a=b", "copy"), Pair("vm1", "managedsave")));
}

TEST(WayOptionTest, IsAUsageErrorForWhatIsNone) {
  for (const char* words : {"vm1=move", "vm1"}) {
    ::testing::internal::CaptureStderr();
    const auto options =
        Parse({"update", "--kernel", "k", "--initrd", "i", "--way", words});
    const std::string message = ::testing::internal::GetCapturedStderr();
    ASSERT_TRUE(std::holds_alternative<int>(options)) << words;
    EXPECT_EQ(std::get<int>(options), static_cast<int>(ExitCode::kUsage));
    EXPECT_THAT(message,
                HasSubstr(std::string(words) == "vm1" ? "VM=WAY" : "move"));
  }
}

}  // namespace
}  // namespace live_update
