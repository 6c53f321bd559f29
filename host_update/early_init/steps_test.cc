#include "host_update/early_init/steps.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace live_update {
namespace {

using ::testing::ElementsAre;

constexpr char kText[] =
    "module virtio_pci\n"
    "module virtio_blk\n"
    "identity /etc/machine-id 1234 1764500000 999999999\n"
    "mount 1024 ext4 /dev/vda1 / errors=remount-ro\n"
    "mount 0 ext4 /dev/pmem0 /var/lib/host-update/ram -\n";

TEST(EarlyStepsTest, ComeBackAsTheyWereWritten) {
  const auto steps = ParseEarlySteps(kText);
  ASSERT_TRUE(steps.has_value());
  EXPECT_THAT(steps->modules, ElementsAre("virtio_pci", "virtio_blk"));
  EXPECT_EQ(steps->identity.inode, 1234);
  EXPECT_EQ(steps->identity.changed_ns, 999999999);
  ASSERT_EQ(steps->mounts.size(), 2);
  EXPECT_EQ(steps->mounts[0].flags, 1024);
  EXPECT_EQ(steps->mounts[0].data, "errors=remount-ro");
  EXPECT_EQ(steps->mounts[1].data, "");
  EXPECT_EQ(FormatEarlySteps(*steps), kText);
}

TEST(EarlyStepsTest, WhatIsCutOffOrOtherwiseIsRefused) {
  const std::string text = kText;
  for (size_t size = 0; size < text.size(); ++size) {
    // Only between the last two lines it is whole.
    const bool whole = size == text.rfind("mount");
    EXPECT_EQ(ParseEarlySteps(text.substr(0, size)).has_value(), whole) << size;
  }
  for (const char* other :
       {"reboot\n", "module a b\n", "module \n", "identity x 1 1 1\n",
        "identity /x -1 1 1\n", "identity /x 99999999999999999999 1 1\n",
        "mount 0 ext4 vda / -\n", "mount -1 ext4 /dev/vda / -\n",
        "mount 0 ext4 /dev/vda root -\n"}) {
    EXPECT_FALSE(ParseEarlySteps(text + other).has_value()) << other;
  }
  EXPECT_FALSE(
      ParseEarlySteps(std::string(kMaxEarlySteps, 'x') + "\n").has_value());
}

}  // namespace
}  // namespace live_update
