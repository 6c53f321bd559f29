#include "host_update/early_restore.h"

#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::testing::HasSubstr;

HostFacts HostBootedWith(const std::string& command_line) {
  HostFacts host;
  host.command_line = command_line;
  host.early_restore_installed = true;
  return host;
}

TEST(FirstBootWordsTest, NameTheTargetOfTheEarlyRestore) {
  const std::string words = FirstBootWords({}, HostBootedWith("ro quiet"));
  EXPECT_THAT(words, HasSubstr("systemd.unit=host-update-early.target"));
  // In the host that came up with them, and is updated again, too.
  EXPECT_EQ(
      FirstBootWords({}, HostBootedWith("ro quiet host_update.jump " + words)),
      words);
}

TEST(FirstBootWordsTest, AreNotThereIfTheOrdinaryBootIsAskedFor) {
  UpdateRequest request;
  request.early_restore = false;
  EXPECT_EQ(FirstBootWords(request, HostBootedWith("ro")), "");
}

TEST(FirstBootWordsTest, AreNotThereWithoutTheUnits) {
  HostFacts host = HostBootedWith("ro");
  host.early_restore_installed = false;
  EXPECT_EQ(FirstBootWords({}, host), "");
}

TEST(FirstBootWordsTest, DoNotReplaceATargetThatTheHostIsBootedInto) {
  for (const char* line :
       {"systemd.unit=vm-host.target ro", "ro single", "ro 3",
        "systemd.mask=host-update-restore.service"}) {
    EXPECT_EQ(FirstBootWords({}, HostBootedWith(line)), "") << line;
    UpdateRequest request;
    request.append = line;
    EXPECT_EQ(FirstBootWords(request, HostBootedWith("ro")), "") << line;
  }
}

TEST(LetBootGoOnTest, LeavesTheFileThatTheUnitWaitsFor) {
  Paths paths;
  paths.run_dir = ::testing::TempDir();
  EXPECT_THAT(LetBootGoOn(paths), IsOk());
  EXPECT_EQ(access((paths.run_dir + "/boot-goes-on").c_str(), F_OK), 0);
  paths.run_dir = "/nonexistent";
  EXPECT_THAT(LetBootGoOn(paths).message(),
              HasSubstr("/nonexistent/boot-goes-on"));
}

}  // namespace
}  // namespace live_update
