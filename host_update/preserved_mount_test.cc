#include "host_update/preserved_mount.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::NotNull;

TEST(ParseMountinfoTest, ReadsAMount) {
  ASSERT_OK_AND_ASSIGN(
      const std::vector<Mount> mounts,
      ParseMountinfo("36 35 259:1 / /mnt/my\\040dax rw,noatime master:1 "
                     "shared:2 - ext4 /dev/pmem0 rw,dax=always\n"));
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].major, 259u);
  EXPECT_EQ(mounts[0].minor, 1u);
  EXPECT_EQ(mounts[0].mount_point, "/mnt/my dax");
  EXPECT_EQ(mounts[0].file_system, "ext4");
  EXPECT_EQ(mounts[0].source, "/dev/pmem0");
  EXPECT_THAT(mounts[0].options, ElementsAre("rw", "dax=always"));
}

TEST(ParseMountinfoTest, RefusesMalformedLines) {
  for (const char* line :
       {"x", "36 35 259:1 / /mnt rw", "36 35 259 / /mnt rw - ext4 /dev/x rw",
        "36 35 259:1 / /mnt rw - ext4", "36 35 a:b / /mnt rw - ext4 /dev/x rw",
        "36 35 259:1 / - ext4 /dev/x rw"}) {
    EXPECT_THAT(ParseMountinfo(line),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << line;
  }
}

TEST(MountOfTest, TakesTheInnermostAndTheLast) {
  std::vector<Mount> mounts(5);
  mounts[0].mount_point = "/";
  mounts[1].mount_point = "/mnt";
  mounts[2].mount_point = "/mnt/dax";
  mounts[2].source = "below";
  mounts[3].mount_point = "/mnt/dax";
  mounts[3].source = "above";
  mounts[4].mount_point = "/mnt/dax/more";
  ASSERT_THAT(MountOf(mounts, "/mnt/dax/vms"), NotNull());
  EXPECT_EQ(MountOf(mounts, "/mnt/dax/vms")->source, "above");
  EXPECT_EQ(MountOf(mounts, "/mnt/dax")->source, "above");
  EXPECT_EQ(MountOf(mounts, "/mnt/daxes")->mount_point, "/mnt");
  EXPECT_EQ(MountOf(mounts, "/home")->mount_point, "/");
  EXPECT_EQ(MountOf({}, "/home"), nullptr);
}

}  // namespace
}  // namespace live_update
