#include "base/mapped_region.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

UniqueFd FileOf(uint64_t size_bytes) {
  UniqueFd fd(memfd_create("mapped_region_test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  return fd;
}

TEST(MappedRegionTest, WritesReachTheFileAndOtherMappings) {
  const UniqueFd fd = FileOf(5000);
  ASSERT_OK_AND_ASSIGN(MappedRegion writer,
                       MappedRegion::MapReadWrite(fd, 5000));
  ASSERT_OK_AND_ASSIGN(MappedRegion reader,
                       MappedRegion::MapReadOnly(fd, 5000));
  writer.mutable_bytes()[4999] = 42;
  EXPECT_THAT(writer.Sync(), IsOk());
  EXPECT_EQ(reader.bytes().size(), 5000);
  EXPECT_EQ(reader.bytes()[4999], 42);
  uint8_t byte = 0;
  EXPECT_EQ(pread(fd.get(), &byte, 1, 4999), 1);
  EXPECT_EQ(byte, 42);
}

TEST(MappedRegionTest, MovingLeavesNothingBehind) {
  ASSERT_OK_AND_ASSIGN(MappedRegion first,
                       MappedRegion::MapReadOnly(FileOf(1), 1));
  MappedRegion second = std::move(first);
  // NOLINTNEXTLINE(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_EQ(second.bytes().size(), 1);
  second = MappedRegion();
  EXPECT_TRUE(second.bytes().empty());
}

TEST(MappedRegionTest, RefusesToMapPastTheEnd) {
  EXPECT_THAT(MappedRegion::MapReadOnly(FileOf(10), 11),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("11 bytes of a file of 10")));
  EXPECT_THAT(MappedRegion::MapReadOnly(FileOf(10), 0),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("0 bytes")));
}

TEST(MappedRegionTest, SaysWhatFailed) {
  EXPECT_THAT(
      MappedRegion::MapReadOnly(UniqueFd(), 1),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("stat")));
}

}  // namespace
}  // namespace live_update
