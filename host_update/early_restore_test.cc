#include "host_update/early_restore.h"

#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/early_root.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
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

HostFacts HostWithEarlyRoot(const std::string& command_line) {
  HostFacts host = HostBootedWith(command_line);
  EarlySteps steps;
  steps.identity.path = "/etc/machine-id";
  steps.mounts = {{.type = "ext4", .device = "/dev/vda", .directory = "/"}};
  host.early_root = steps;
  return host;
}

TEST(DecideEarlyRootTest, TakesTheStepsOfThisKernel) {
  UpdateRequest request;
  request.initrd_path = "/boot/initrd.img-6.1.0-56-cloud-amd64";
  ASSERT_OK_AND_ASSIGN(
      const EarlySteps early,
      DecideEarlyRoot(request, HostWithEarlyRoot("root=/dev/vda rw")));
  EXPECT_STREQ(kEarlyRootWord, "rdinit=/host-update/early-init");
  EXPECT_EQ(kEarlyRootWord, std::string("rdinit=/") + kEarlyInitInInitrd);
  EXPECT_EQ(early.mounts.size(), 1);
}

TEST(DecideEarlyRootTest, LeavesToTheInitramfsWhatItIsAskedFor) {
  UpdateRequest request;
  request.initrd_path = "/boot/initrd.img-6.1.0-56-cloud-amd64";
  for (const char* word :
       {"rdinit=/bin/sh", "init=/bin/sh", "break=mount", "ip=dhcp",
        "rd.luks.uuid=1", "rootflags=subvol=@", "fsck.mode=force"}) {
    EXPECT_THAT(
        DecideEarlyRoot(request, HostWithEarlyRoot(word)),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(word)));
    UpdateRequest appended = request;
    appended.append = word;
    EXPECT_THAT(
        DecideEarlyRoot(appended, HostWithEarlyRoot("rw")),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(word)));
  }
  HostFacts no_steps = HostWithEarlyRoot("rw");
  no_steps.early_root = absl::FailedPreconditionError("/ is on /dev/dm-0");
  EXPECT_THAT(
      DecideEarlyRoot(request, no_steps),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/dev/dm-0")));
  for (const auto& change : std::vector<std::function<void(UpdateRequest&)>>{
           [](UpdateRequest& r) { r.early_root = false; },
           [](UpdateRequest& r) { r.early_restore = false; },
           [](UpdateRequest& r) { r.initrd_path.clear(); }}) {
    UpdateRequest changed = request;
    change(changed);
    EXPECT_THAT(DecideEarlyRoot(changed, HostWithEarlyRoot("rw")),
                StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::_));
  }
}

TEST(WithEarlyInitTest, PutsTheProgramAndItsStepsInFront) {
  Paths paths;
  paths.root = ::testing::TempDir() + "/with_early_init";
  std::filesystem::create_directories(paths.root + "/usr/lib/host-update");
  const UniqueFd initrd(memfd_create("initrd", MFD_CLOEXEC));
  const EarlySteps steps = *HostWithEarlyRoot("").early_root;
  EXPECT_THAT(WithEarlyInit(initrd, steps, paths),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  std::ofstream(paths.root + kEarlyInitPath) << "the program";
  ASSERT_OK_AND_ASSIGN(const UniqueFd whole,
                       WithEarlyInit(initrd, steps, paths));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadAll(whole, 1 << 20));
  EXPECT_THAT(text, HasSubstr("the program"));
  EXPECT_THAT(text, HasSubstr(FormatEarlySteps(steps)));
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
