#include "loader/kernel_image.h"

#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/byte_reader.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

TEST(KernelImageTest, KnowsABzImage) {
  ASSERT_OK_AND_ASSIGN(const KernelImage image,
                       ReadKernelImage(AsBytes(MakeBzImage())));
  EXPECT_EQ(image.architecture(), "x86-64");
  EXPECT_EQ(image.release(), kTestRelease);
  EXPECT_THAT(CheckLoadable(image, 100), IsOk());
}

TEST(KernelImageTest, KnowsAVmlinuxAndSaysWhatToGiveInstead) {
  ASSERT_OK_AND_ASSIGN(const KernelImage image,
                       ReadKernelImage(AsBytes(MakeElfKernel("contents"))));
  EXPECT_THAT(
      CheckLoadable(image, 0),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("vmlinuz")));
}

TEST(KernelImageTest, RefusesA32BitKernel) {
  TestBzImage i386;
  i386.xloadflags = 0;
  ASSERT_OK_AND_ASSIGN(const KernelImage image,
                       ReadKernelImage(AsBytes(MakeBzImage(i386))));
  EXPECT_THAT(CheckLoadable(image, 0),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("a kernel for i386")));
}

TEST(KernelImageTest, SaysWhatAFileIsInstead) {
  EXPECT_THAT(ReadKernelImage({}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  EXPECT_THAT(
      ReadKernelImage(AsBytes("070701rest")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("initrd?")));
  EXPECT_THAT(ReadKernelImage(AsBytes("\x1f\x8brest")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("compressed file")));
  EXPECT_THAT(ReadKernelImage(AsBytes("MZrest")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("unified kernel image?")));
  EXPECT_THAT(ReadKernelImage(AsBytes("#!/bin/sh")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("starts with 23212f62696e2f73")));
}

TEST(KernelImageTest, KeepsTheOffsetOfABrokenBzImage) {
  EXPECT_THAT(
      ReadKernelImage(AsBytes(MakeBzImage().substr(0, 1030))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("offset 0x406")));
}

}  // namespace
}  // namespace live_update::loader
