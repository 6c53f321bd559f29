#include "host_update/early_root.h"

#include <sys/mount.h>
#include <sys/stat.h>

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

using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRam[] = "/var/lib/host-update/ram";
constexpr char kRamMount[] =
    "30 20 259:0 / /var/lib/host-update/ram rw,noatime - ext4 /dev/pmem0 "
    "rw,dax=always\n";

// A host with a partition of a virtio disk as "/", and a pmem device.
class EarlyRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write(kEarlyInitPath, "program");
    std::filesystem::permissions(root_ + kEarlyInitPath,
                                 std::filesystem::perms::owner_all);
    Write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    Mounts(
        absl::StrCat("20 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root "
                     "rw,errors=remount-ro\n"
                     "21 20 0:5 / /dev rw - devtmpfs udev rw\n",
                     kRamMount));
    const std::string disk = "/sys/devices/pci0000:00/0000:00:05.0/virtio3";
    Driver("/sys/devices/pci0000:00/0000:00:05.0", "virtio_pci");
    Driver(disk, "virtio_blk");
    Block("254:1", disk + "/block/vda/vda1");
    const std::string pmem = "/sys/devices/platform/e820_pmem";
    Driver(pmem, "nd_e820");
    Driver(pmem + "/ndbus0/region0/namespace0.0", "nd_pmem");
    Block("259:0", pmem + "/ndbus0/region0/namespace0.0/block/pmem0");
    Block("253:0", "/sys/devices/virtual/block/dm-0");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path, std::ios::binary) << text;
  }
  void Mounts(const std::string& text) { Write("/proc/1/mountinfo", text); }
  void Link(const std::string& path, const std::string& target) {
    std::filesystem::create_directories(root_ + target);
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::filesystem::create_symlink(root_ + target, root_ + path);
  }
  void Driver(const std::string& folder, const std::string& module) {
    Link(folder + "/driver", "/sys/bus/any/drivers/of-" + module);
    Link("/sys/bus/any/drivers/of-" + module + "/module",
         "/sys/module/" + module);
  }
  void Block(const std::string& number, const std::string& folder) {
    Link("/sys/dev/block/" + number, folder);
  }

  const std::string root_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(EarlyRootTest, MountsWhatTheHostHasMounted) {
  ASSERT_OK_AND_ASSIGN(const EarlySteps steps, PlanEarlyRoot(root_, kRam));
  EXPECT_THAT(steps.modules, ElementsAre("virtio_pci", "virtio_blk", "ext4",
                                         "nd_e820", "nd_pmem"));
  ASSERT_EQ(steps.mounts.size(), 2);
  EXPECT_EQ(steps.mounts[0].device, "/dev/vda1");
  EXPECT_EQ(steps.mounts[0].directory, "/");
  EXPECT_EQ(steps.mounts[0].flags, MS_RELATIME);
  EXPECT_EQ(steps.mounts[0].data, "errors=remount-ro");
  EXPECT_EQ(steps.mounts[1].device, "/dev/pmem0");
  EXPECT_EQ(steps.mounts[1].directory, kRam);
  EXPECT_EQ(steps.mounts[1].flags, MS_NOATIME);
  EXPECT_EQ(steps.mounts[1].data, "dax=always");
  struct stat info {};
  ASSERT_EQ(stat((root_ + "/etc/machine-id").c_str(), &info), 0);
  EXPECT_EQ(steps.identity.path, "/etc/machine-id");
  EXPECT_EQ(steps.identity.inode, info.st_ino);
  EXPECT_EQ(steps.identity.changed_ns, info.st_ctim.tv_nsec);
  // early-init takes what is written of it.
  EXPECT_TRUE(ParseEarlySteps(FormatEarlySteps(steps)).has_value());
}

TEST_F(EarlyRootTest, LeavesPreservedMemoryToTheBootIfItIsNotRightBelow) {
  Mounts(
      absl::StrCat("20 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
                   "22 20 254:1 / /var rw - ext4 /dev/vda2 rw\n",
                   kRamMount));
  ASSERT_OK_AND_ASSIGN(const EarlySteps steps, PlanEarlyRoot(root_, kRam));
  EXPECT_EQ(steps.mounts.size(), 1);
}

TEST_F(EarlyRootTest, SaysWhyItTakesAnInitramfs) {
  const struct {
    const char* mounts;
    const char* why;
  } kCases[] = {
      {"20 1 253:0 / / rw - ext4 /dev/mapper/root rw\n", "/dev/dm-0"},
      {"20 1 0:35 / / rw - nfs4 server:/root rw\n", "nfs4 of server:/root"},
      {"20 1 254:1 /@ / rw - btrfs /dev/vda1 rw\n", "/@"},
      {"20 1 254:1 / / rw,mand - ext4 /dev/vda1 rw\n", "mand"},
      {"20 1 254:1 / / rw - ext4 /dev/vda1 rw,x=a\x01\n", "x=a"},
      {"20 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
       "21 20 254:2 / /usr rw - ext4 /dev/vda2 rw\n",
       "/usr is a file system of its own"},
  };
  for (const auto& [mounts, why] : kCases) {
    Mounts(mounts);
    EXPECT_THAT(
        PlanEarlyRoot(root_, kRam),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(why)));
  }
}

TEST_F(EarlyRootTest, TakesNoProgramThatOthersMayWrite) {
  std::filesystem::permissions(root_ + kEarlyInitPath,
                               std::filesystem::perms::group_write,
                               std::filesystem::perm_options::add);
  EXPECT_THAT(PlanEarlyRoot(root_, kRam),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not a file of root's alone")));
  std::filesystem::remove(root_ + kEarlyInitPath);
  EXPECT_THAT(PlanEarlyRoot(root_, kRam),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not installed")));
}

}  // namespace
}  // namespace live_update
