#include "loader/e820.h"

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::testing::ElementsAre;

std::vector<E820Range> Of(const std::string& iomem) {
  const auto map = ParseIomem(iomem);
  EXPECT_TRUE(map.ok()) << map.status();
  return map.ok() ? E820Of(*map) : std::vector<E820Range>();
}

E820Range Range(uint64_t start, uint64_t end, E820Type type) {
  return {.range = {.start = start, .size_bytes = end - start}, .type = type};
}

TEST(E820Test, IsWhatTheRunningKernelCameTo) {
  EXPECT_THAT(
      Of("00000000-00000fff : Reserved\n"
         "00001000-0009fbff : System RAM\n"
         "000a0000-000bffff : PCI Bus 0000:00\n"
         "000f0000-000fffff : Reserved\n"
         "  000f0000-000fffff : System ROM\n"
         "00100000-3fffffff : System RAM\n"
         "  11000000-11e01ef1 : Kernel code\n"
         "40000000-4fffffff : Persistent Memory (legacy)\n"
         "  40000000-4fffffff : namespace0.0\n"
         "50000000-7ffdffff : System RAM\n"
         "7ffe0000-7ffeffff : ACPI Tables\n"
         "7fff0000-7fffffff : ACPI Non-volatile Storage\n"),
      ElementsAre(Range(0, 0x1000, E820Type::kReserved),
                  Range(0x1000, 0x9fc00, E820Type::kRam),
                  Range(0xf0000, 0x100000, E820Type::kReserved),
                  Range(0x100000, 0x40000000, E820Type::kRam),
                  Range(0x40000000, 0x50000000, E820Type::kPersistentLegacy),
                  Range(0x50000000, 0x7ffe0000, E820Type::kRam),
                  Range(0x7ffe0000, 0x7fff0000, E820Type::kAcpiTables),
                  Range(0x7fff0000, 0x80000000, E820Type::kAcpiNvs)));
}

TEST(E820Test, FindsWhatLiesInABus) {
  EXPECT_THAT(Of("80000000-febfffff : PCI Bus 0000:00\n"
                 "  b0000000-bfffffff : PCI MMCONFIG 0000 [bus 00-ff]\n"
                 "    b0000000-bfffffff : Reserved\n"),
              ElementsAre(Range(0xb0000000, 0xc0000000, E820Type::kReserved)));
}

TEST(E820Test, ReservedWinsOverRam) {
  EXPECT_THAT(Of("00100000-3fffffff : System RAM\n"
                 "  20000000-20ffffff : Reserved\n"),
              ElementsAre(Range(0x100000, 0x20000000, E820Type::kRam),
                          Range(0x20000000, 0x21000000, E820Type::kReserved),
                          Range(0x21000000, 0x40000000, E820Type::kRam)));
}

TEST(E820Test, JoinsRamThatTouchesAndKeepsDevicesApart) {
  EXPECT_THAT(
      Of("00100000-1fffffff : System RAM\n"
         "20000000-3fffffff : System RAM\n"
         "40000000-4fffffff : Persistent Memory (legacy)\n"
         "50000000-5fffffff : Persistent Memory (legacy)\n"),
      ElementsAre(Range(0x100000, 0x40000000, E820Type::kRam),
                  Range(0x40000000, 0x50000000, E820Type::kPersistentLegacy),
                  Range(0x50000000, 0x60000000, E820Type::kPersistentLegacy)));
}

TEST(E820Test, MemoryThatADriverBroughtIsNone) {
  EXPECT_THAT(
      Of("40000000-4fffffff : Soft Reserved\n"
         "  40000000-4fffffff : dax0.0\n"
         "    40000000-4fffffff : System RAM (kmem)\n"),
      ElementsAre(Range(0x40000000, 0x50000000, E820Type::kSoftReserved)));
}

}  // namespace
}  // namespace live_update::loader
