#include "loader/modules.h"

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;

TEST(ModuleSetTest, TellsLoadableFromBuiltIn) {
  ASSERT_OK_AND_ASSIGN(
      const ModuleSet modules,
      ModuleSet::Parse(
          "kernel/arch/x86/kvm/kvm-amd.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz\n"
          "kernel/arch/x86/kvm/kvm.ko.xz:\n",
          "kernel/fs/ext4/ext4.ko\n"));
  EXPECT_TRUE(modules.IsLoadable("kvm_amd"));
  EXPECT_TRUE(modules.IsLoadable("kvm-amd"));
  EXPECT_FALSE(modules.IsBuiltIn("kvm_amd"));
  EXPECT_TRUE(modules.IsBuiltIn("ext4"));
  EXPECT_FALSE(modules.Has("kvm_intel"));
  EXPECT_EQ(modules.loadable_count(), 2u);
}

TEST(ModuleSetTest, RefusesOtherText) {
  EXPECT_THAT(ModuleSet::Parse("root:x:0:0\n", ""),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(ModuleSetTest, SaysThatTheFolderIsMissing) {
  EXPECT_THAT(ModuleSet::Read("/nonexistent/6.1.0"),
              StatusIs(absl::StatusCode::kNotFound, _));
}

}  // namespace
}  // namespace live_update::loader
