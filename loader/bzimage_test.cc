#include "loader/bzimage.h"

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
using ::testing::_;
using ::testing::HasSubstr;

TEST(BzImageTest, TellsWhatTheHeaderSays) {
  const std::string file = MakeBzImage();
  ASSERT_OK_AND_ASSIGN(const BzImage image, ReadBzImage(AsBytes(file)));
  EXPECT_EQ(image.protocol, 0x020f);
  EXPECT_THAT(image.version, HasSubstr("6.1.0-56-cloud-amd64 (debian"));
  EXPECT_TRUE(image.is_64_bit);
  EXPECT_TRUE(image.relocatable);
  EXPECT_EQ(image.command_line_bytes, 2047u);
  EXPECT_EQ(image.init_bytes, 32u << 20);
  EXPECT_EQ(file.substr(image.payload_offset, image.payload_bytes), "payload");
}

TEST(BzImageTest, IsNotFoundInOtherFiles) {
  EXPECT_THAT(ReadBzImage({}), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(ReadBzImage(AsBytes(std::string(0x300, 'x'))),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("0x202")));
}

TEST(BzImageTest, RefusesEveryTruncation) {
  const std::string file = MakeBzImage();
  for (size_t size = 0; size < file.size(); ++size) {
    const std::string part = file.substr(0, size);
    EXPECT_FALSE(ReadBzImage(AsBytes(part)).ok()) << size << " bytes";
  }
  EXPECT_THAT(ReadBzImage(AsBytes(file.substr(0, 1030))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("truncated at offset 0x406")));
}

TEST(BzImageTest, TakesBytesAfterTheKernelForASignature) {
  EXPECT_THAT(ReadBzImage(AsBytes(MakeBzImage() + std::string(2000, 's'))),
              IsOk());
}

TEST(BzImageTest, RefusesAWrongBootFlag) {
  std::string file = MakeBzImage();
  Poke<uint16_t>(&file, 0x1fe, 0x55aa);
  EXPECT_THAT(ReadBzImage(AsBytes(file)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x1fe")));
}

TEST(BzImageTest, RefusesAnOldProtocol) {
  TestBzImage old;
  old.protocol = 0x0207;
  EXPECT_THAT(ReadBzImage(AsBytes(MakeBzImage(old))),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("2.07")));
}

TEST(BzImageTest, RefusesAPayloadOutsideTheKernel) {
  std::string file = MakeBzImage();
  Poke<uint32_t>(&file, 0x248, 0xfffffff0);
  EXPECT_THAT(ReadBzImage(AsBytes(file)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("compressed kernel")));
  file = MakeBzImage();
  Poke<uint32_t>(&file, 0x24c, 0xffffffff);
  EXPECT_THAT(ReadBzImage(AsBytes(file)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("compressed kernel")));
}

TEST(BzImageTest, RefusesAVersionStringOutsideTheSetup) {
  std::string file = MakeBzImage();
  Poke<uint16_t>(&file, 0x20e, 0x200);
  EXPECT_THAT(ReadBzImage(AsBytes(file)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("version string is at 0x400")));
}

TEST(BzImageTest, CleansTheVersionString) {
  TestBzImage hostile;
  hostile.version = "6.1\x1b[31m\n";
  ASSERT_OK_AND_ASSIGN(const BzImage image,
                       ReadBzImage(AsBytes(MakeBzImage(hostile))));
  EXPECT_EQ(image.version, "6.1?[31m?");
}

TEST(CheckLoadableTest, RefusesWhatTheKernelWouldRefuse) {
  const auto check = [](const TestBzImage& made, uint64_t command_line) {
    const auto image = ReadBzImage(AsBytes(MakeBzImage(made)));
    return image.ok() ? CheckLoadable(*image, command_line) : image.status();
  };
  EXPECT_THAT(check({}, 2047), IsOk());
  EXPECT_THAT(check({}, 2048),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("2047 characters; it would get 2048")));
  TestBzImage made;
  made.xloadflags = 0x2;
  EXPECT_THAT(check(made, 0), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("64-bit")));
  made.xloadflags = 0x1;
  EXPECT_THAT(check(made, 0), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("4 GiB")));
  made = {};
  made.loadflags = 0;
  EXPECT_THAT(check(made, 0), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("zImage")));
  made = {};
  made.protocol = 0x020b;  // Before xloadflags.
  EXPECT_THAT(check(made, 0), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("64-bit")));
}

}  // namespace
}  // namespace live_update::loader
