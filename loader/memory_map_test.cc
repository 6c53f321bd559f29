#include "loader/memory_map.h"

#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kIomem[] =
    "00000000-00000fff : Reserved\n"
    "00001000-3fffffff : System RAM\n"
    "  01000000-01ffffff : Kernel code\n"
    "40000000-7fffffff : Persistent Memory (legacy)\n"
    "  40000000-7fffffff : namespace0.0\n"
    "80000000-bfffffff : System RAM\n";
constexpr PhysRange kDevice = {.start = 0x40000000, .size_bytes = 0x40000000};

std::vector<MemmapRegion> Memmap(absl::string_view line) {
  return MemmapRegions(line).value_or(std::vector<MemmapRegion>());
}

TEST(ParseIomemTest, ReadsRangesNamesAndNesting) {
  ASSERT_OK_AND_ASSIGN(const MemoryMap map, ParseIomem(kIomem));
  ASSERT_THAT(map, SizeIs(6));
  EXPECT_EQ(map[2].name, "Kernel code");
  EXPECT_EQ(map[2].depth, 1);
  EXPECT_THAT(RangesNamed(map, kLegacyPersistentMemory), ElementsAre(kDevice));
  EXPECT_THAT(RangesNamed(map, kSystemRam), SizeIs(2));
}

TEST(ParseIomemTest, TakesAResourceUpToTheLastByte) {
  ASSERT_OK_AND_ASSIGN(
      const MemoryMap map,
      ParseIomem("0000000000000000-ffffffffffffffff : PCI Bus 0000:00\n"));
  EXPECT_EQ(map[0].range.end(), ~uint64_t{0});
}

TEST(ParseIomemTest, SaysThatAddressesAreHidden) {
  EXPECT_THAT(ParseIomem("00000000-00000000 : Reserved\n"
                         "00000000-00000000 : System RAM\n"),
              StatusIs(absl::StatusCode::kPermissionDenied, _));
}

TEST(ParseIomemTest, RefusesMalformedLines) {
  for (const char* text :
       {"1000-0fff : backwards", "1000 : one number", "x-y : no numbers",
        "0-1: no blank", " 0-1 : odd indent", "    0-1 : lies in nothing",
        "00000000000000000-1 : too many digits", "-1 : no first"}) {
    EXPECT_THAT(ParseIomem(text),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << text;
  }
}

TEST(ParseIomemTest, EndsAtItsLimits) {
  std::string many;
  for (int i = 0; i < 40000; ++i) many += "0-fff : x\n";
  EXPECT_THAT(ParseIomem(many), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("more than 32768")));
  EXPECT_THAT(ParseIomem(std::string(5 << 20, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

class FindReservationTest : public ::testing::Test {
 protected:
  const MemoryMap map_ = ParseIomem(kIomem).value_or(MemoryMap());
};

TEST_F(FindReservationTest, FindsTheCommandLines) {
  ASSERT_OK_AND_ASSIGN(const PmemReservation found,
                       FindReservation(kDevice, Memmap("memmap=1G!1G"), map_));
  EXPECT_EQ(found.by, PmemReservation::By::kCommandLine);
  EXPECT_EQ(found.memmap, "1G!1G");
  EXPECT_TRUE(found.exact);
}

TEST_F(FindReservationTest, FindsOneThatIsLargerThanTheDevice) {
  const PhysRange partition = {.start = 0x40100000, .size_bytes = 0x100000};
  ASSERT_OK_AND_ASSIGN(
      const PmemReservation found,
      FindReservation(partition, Memmap("memmap=1G!1G"), map_));
  EXPECT_FALSE(found.exact);
}

TEST_F(FindReservationTest, RefusesOneThatIsSmallerThanTheDevice) {
  EXPECT_THAT(FindReservation(kDevice, Memmap("memmap=512M!1G"), map_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("only a part")));
}

TEST_F(FindReservationTest, RefusesOneThatTheMapDoesNotShow) {
  EXPECT_THAT(FindReservation(kDevice, Memmap("memmap=1G!1G"), MemoryMap()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("/proc/iomem")));
}

TEST_F(FindReservationTest, TakesTheFirmwares) {
  ASSERT_OK_AND_ASSIGN(const MemoryMap map,
                       ParseIomem("40000000-bfffffff : Persistent Memory\n"));
  ASSERT_OK_AND_ASSIGN(const PmemReservation found,
                       FindReservation(kDevice, {}, map));
  EXPECT_EQ(found.by, PmemReservation::By::kFirmware);
}

TEST_F(FindReservationTest, RefusesADeviceInOrdinaryMemory) {
  const PhysRange elsewhere = {.start = 0x80000000, .size_bytes = 0x1000};
  EXPECT_THAT(FindReservation(elsewhere, Memmap("memmap=1G$2G"), map_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("0x80000000+0x1000")));
}

}  // namespace
}  // namespace live_update::loader
