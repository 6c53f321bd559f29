#include "host_update/watchdog_device.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Started for real it is in a lab's host: testing/lab/scenarios/
// test_watchdog.py.
class WatchdogDeviceTest : public ::testing::Test {
 protected:
  WatchdogDeviceTest() {
    std::filesystem::remove_all(root_);
    Put("class/watchdog/watchdog0/identity", "softdog\n");
    Put("devices/pci0/wdt/watchdog/watchdog1/identity", "iTCO_wdt\n");
    Put("devices/pci0/wdt/watchdog/watchdog1/state", "inactive\n");
    Put("devices/pci0/wdt/watchdog/watchdog1/nowayout", "0\n");
    Link("devices/pci0/wdt/watchdog/watchdog1", "class/watchdog/watchdog1");
    for (const char* module : {"lpc_ich", "iTCO_wdt"}) {
      Put(std::string("module/") + module + "/refcnt", "0\n");
    }
    Link("module/lpc_ich", "devices/pci0/driver/module");
    Link("module/iTCO_wdt", "devices/pci0/wdt/driver/module");
  }
  ~WatchdogDeviceTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path file(root_ + "/sys/" + path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void Link(const std::string& to, const std::string& from) {
    const std::filesystem::path link(root_ + "/sys/" + from);
    std::filesystem::create_directories(link.parent_path());
    std::filesystem::create_symlink(root_ + "/sys/" + to, link);
  }

  const std::string root_ = ::testing::TempDir() + "/watchdog-root";
  LinuxWatchdogDevice device_{root_};
};

TEST_F(WatchdogDeviceTest, LooksWithoutOpening) {
  absl::StatusOr<WatchdogFacts> facts = device_.Look("/dev/watchdog1");
  ASSERT_THAT(facts.status(), IsOk());
  EXPECT_EQ(facts->identity, "iTCO_wdt");
  EXPECT_THAT(facts->modules, ElementsAre("lpc_ich", "iTCO_wdt"));
  EXPECT_FALSE(facts->active);
  EXPECT_TRUE(facts->stoppable);
  EXPECT_FALSE(facts->stays_on);  // A kernel that does not say so.

  Put("module/watchdog/parameters/stop_on_reboot", "0\n");
  Put("devices/pci0/wdt/watchdog/watchdog1/state", "active\n");
  Put("devices/pci0/wdt/watchdog/watchdog1/nowayout", "1\n");
  facts = device_.Look("/dev/watchdog1");
  ASSERT_THAT(facts.status(), IsOk());
  EXPECT_TRUE(facts->active);
  EXPECT_FALSE(facts->stoppable);
  EXPECT_TRUE(facts->stays_on);

  Put("module/watchdog/parameters/stop_on_reboot", "-1\n");
  EXPECT_FALSE(device_.Look("/dev/watchdog1")->stays_on);
  EXPECT_THAT(device_.Look("/dev/watchdog2").status(),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(WatchdogDeviceTest, TakesADriverThatHidesForItsModule) {
  Put("class/watchdog/watchdog2/identity", "wdat_wdt\n");
  Put("class/watchdog/watchdog2/state", "inactive\n");
  Put("class/watchdog/watchdog2/nowayout", "0\n");
  EXPECT_THAT(device_.Look("/dev/watchdog2")->modules, IsEmpty());
  Put("module/wdat_wdt/refcnt", "0\n");
  EXPECT_THAT(device_.Look("/dev/watchdog2")->modules, ElementsAre("wdat_wdt"));
}

TEST_F(WatchdogDeviceTest, FindsItByWhatItsDriverCallsIt) {
  EXPECT_EQ(*device_.Find("iTCO_wdt"), "/dev/watchdog1");
  EXPECT_EQ(*device_.Find("softdog"), "/dev/watchdog0");
  EXPECT_THAT(device_.Find("wdat_wdt").status(),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(WatchdogDeviceTest, WhatIsNoWatchdogIsNotStarted) {
  std::filesystem::create_directories(root_ + "/dev");
  std::ofstream(root_ + "/dev/watchdog1") << "";
  EXPECT_FALSE(device_.StartOrFeed("/dev/watchdog1", absl::Seconds(60)).ok());
  EXPECT_FALSE(device_.StartOrFeed("/dev/watchdog2", absl::Seconds(60)).ok());
  EXPECT_THAT(device_.Stop(), IsOk());
}

}  // namespace
}  // namespace live_update
