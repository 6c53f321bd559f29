#include "loader/memmap.h"

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(ParseSizeTest, ReadsWhatMemparseReads) {
  EXPECT_EQ(ParseSize("1G").value_or(0), uint64_t{1} << 30);
  EXPECT_EQ(ParseSize("0x40000000").value_or(0), uint64_t{1} << 30);
  EXPECT_EQ(ParseSize("0x1g").value_or(0), uint64_t{1} << 30);
  EXPECT_EQ(ParseSize("010k").value_or(0), 8u << 10);
  EXPECT_EQ(ParseSize("0").value_or(1), 0u);
}

TEST(ParseSizeTest, RefusesTheRest) {
  for (const char* text :
       {"", "G", "0x", "-1", "1GG", "1.5G", "08", "18446744073709551616", "16E",
        "0x1ffffffffffffffff", "99999999999P"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
  }
}

TEST(MemmapRegionsTest, ReadsEveryKind) {
  ASSERT_OK_AND_ASSIGN(
      const auto regions,
      MemmapRegions("memmap=1G!4G,64K$0x1000 ro \"memmap=1M@16M\" "
                    "memmap=exactmap memmap=512M memmap=4K%8K-1+2"));
  ASSERT_THAT(regions, SizeIs(6));
  EXPECT_EQ(regions[0].kind, MemmapRegion::Kind::kPersistent);
  EXPECT_EQ(regions[0].range, (PhysRange{.start = uint64_t{4} << 30,
                                         .size_bytes = uint64_t{1} << 30}));
  EXPECT_EQ(regions[0].text, "1G!4G");
  EXPECT_EQ(regions[1].kind, MemmapRegion::Kind::kReserved);
  EXPECT_EQ(regions[2].kind, MemmapRegion::Kind::kRam);
  EXPECT_EQ(regions[3].kind, MemmapRegion::Kind::kExactMap);
  EXPECT_EQ(regions[4].kind, MemmapRegion::Kind::kLimit);
  EXPECT_EQ(regions[5].kind, MemmapRegion::Kind::kConverted);
}

TEST(MemmapRegionsTest, IgnoresWhatTheKernelIgnores) {
  ASSERT_OK_AND_ASSIGN(const auto regions,
                       MemmapRegions("ro xmemmap=1G!4G -- memmap=1G!4G"));
  EXPECT_THAT(regions, IsEmpty());
}

TEST(MemmapRegionsTest, RefusesWhatMakesNoRange) {
  for (const char* text :
       {"memmap=", "memmap=1G!", "memmap=!1G", "memmap=1G!1Gx", "memmap=0!1G",
        "memmap=2!0xffffffffffffffff", "memmap=1G^1G", "memmap=1G!1G,"}) {
    EXPECT_THAT(MemmapRegions(text),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << text;
  }
}

}  // namespace
}  // namespace live_update::loader
