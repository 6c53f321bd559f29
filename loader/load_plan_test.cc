#include "loader/load_plan.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/load_plan_invariants.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

// A host of 2 GiB with memmap=256M!1G, a vmlinux and an initrd. Tests spoil one
// thing.
class LoadPlanTest : public ::testing::Test {
 protected:
  absl::StatusOr<LoadPlan> Plan() {
    const auto map = ParseIomem(iomem_);
    EXPECT_THAT(map, IsOk());
    const LoadInput input = {.kernel = kernel_,
                             .initrd_bytes = initrd_bytes_,
                             .command_line = command_line_,
                             .map = *map,
                             .untouched = untouched_,
                             .boot = boot_,
                             .five_level_paging = five_level_paging_};
    absl::StatusOr<LoadPlan> plan = MakeLoadPlan(input);
    if (plan.ok()) {
      EXPECT_EQ(Violation(input, *plan), "");
    }
    return plan;
  }

  std::string iomem_ =
      "00000000-00000fff : Reserved\n"
      "00001000-0009fbff : System RAM\n"
      "000f0000-000fffff : Reserved\n"
      "00100000-3fffffff : System RAM\n"
      "40000000-4fffffff : Persistent Memory (legacy)\n"
      "50000000-7ffdffff : System RAM\n"
      "7ffe0000-7fffffff : Reserved\n";
  KernelNeeds kernel_ = {.file_bytes = 40 * kMiB,
                         .memory_bytes = 60 * kMiB,
                         .lowest_address = 16 * kMiB,
                         .alignment = 2 * kMiB,
                         .entry_offset = 0,
                         .command_line_bytes = 2047,
                         .setup_header = std::string(123, '\0')};
  uint64_t initrd_bytes_ = 30 * kMiB + 1;
  std::string command_line_ = "console=ttyS0 memmap=256M!1G";
  std::vector<PhysRange> untouched_ = {
      {.start = kGiB, .size_bytes = 256 * kMiB}};
  BootFacts boot_ = {.boot_params = std::string(4096, '\0')};
  bool five_level_paging_ = false;
};

TEST_F(LoadPlanTest, PutsAVmlinuxWhereItIsLinked) {
  ASSERT_OK_AND_ASSIGN(const LoadPlan plan, Plan());
  EXPECT_EQ(plan.kernel,
            (PhysRange{.start = 16 * kMiB, .size_bytes = 60 * kMiB}));
  EXPECT_EQ(plan.initrd, (PhysRange{.start = 76 * kMiB,
                                    .size_bytes = 30 * kMiB + kPageBytes}));
}

TEST_F(LoadPlanTest, NeedsNoInitrd) {
  initrd_bytes_ = 0;
  ASSERT_OK_AND_ASSIGN(const LoadPlan plan, Plan());
  EXPECT_FALSE(plan.initrd.has_value());
  EXPECT_EQ(plan.Segments().size(), 2u);
}

TEST_F(LoadPlanTest, PutsABzImageAboveWhatIsTaken) {
  iomem_ =
      "00100000-01ffffff : System RAM\n"
      "02000000-02000fff : Reserved\n"
      "02001000-7fffffff : System RAM\n";
  untouched_ = {};
  kernel_.movable = true;
  ASSERT_OK_AND_ASSIGN(const LoadPlan plan, Plan());
  EXPECT_EQ(plan.kernel.start, 0x2200000u);
}

TEST_F(LoadPlanTest, LeavesACrashKernelsMemoryAlone) {
  iomem_ =
      "00100000-7fffffff : System RAM\n"
      "  04c00000-14bfffff : Crash kernel\n";
  untouched_ = {};
  ASSERT_OK_AND_ASSIGN(const LoadPlan plan, Plan());
  EXPECT_EQ(plan.initrd->start, 0x14c00000u);
}

TEST_F(LoadPlanTest, UsesMemoryAbove4GiB) {
  iomem_ =
      "00100000-04ffffff : System RAM\n"
      "100000000-1ffffffff : System RAM\n";
  untouched_ = {};
  ASSERT_OK_AND_ASSIGN(const LoadPlan plan, Plan());
  EXPECT_EQ(plan.initrd->start, 4 * kGiB);
}

TEST_F(LoadPlanTest, RefusesAVmlinuxWhosePlaceIsTaken) {
  iomem_ =
      "00100000-01ffffff : System RAM\n"
      "02000000-02000fff : Reserved\n"
      "02001000-7fffffff : System RAM\n";
  untouched_ = {};
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("must lie at 0x1000000+0x3c00000")));
}

TEST_F(LoadPlanTest, RefusesAnInitrdThatIsTooLarge) {
  initrd_bytes_ = kGiB;
  EXPECT_THAT(Plan(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("0x40000000 bytes from 0x1000000 on for the "
                                 "initrd (the largest free range is "
                                 "0x4c00000+0x3b400000)")));
}

TEST_F(LoadPlanTest, RefusesMoreThanHalfOfTheMemory) {
  iomem_ = "00100000-0fffffff : System RAM\n";
  untouched_ = {};
  initrd_bytes_ = 100 * kMiB;
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("more than half")));
}

TEST_F(LoadPlanTest, RefusesAMapWithoutMemory) {
  iomem_ = "000f0000-000fffff : Reserved\n";
  untouched_ = {};
  kernel_.movable = true;
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("none is free")));
}

TEST_F(LoadPlanTest, RefusesToGivePreservedMemoryAway) {
  iomem_ = "00100000-7fffffff : System RAM\n";
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("0x40000000+0x10000000 is not to be "
                                         "touched")));
}

TEST_F(LoadPlanTest, RefusesAKernelThatCantBeEnteredWith5LevelPaging) {
  five_level_paging_ = true;
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("5-level")));
  kernel_.five_level_paging = true;
  EXPECT_THAT(Plan(), IsOk());
}

TEST_F(LoadPlanTest, RefusesACommandLineThatTheKernelCutsOff) {
  kernel_.command_line_bytes = 10;
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("10 characters")));
}

TEST_F(LoadPlanTest, RefusesNumbersThatCantBe) {
  const KernelNeeds good = kernel_;
  const auto refused = [this] {
    return ::testing::Value(Plan(),
                            StatusIs(absl::StatusCode::kInvalidArgument, _));
  };
  kernel_.file_bytes = kernel_.memory_bytes + 1;
  EXPECT_TRUE(refused());
  kernel_ = good;
  kernel_.entry_offset = kernel_.file_bytes;
  EXPECT_TRUE(refused());
  kernel_ = good;
  kernel_.alignment = 3 * kMiB;
  EXPECT_TRUE(refused());
  kernel_ = good;
  kernel_.memory_bytes = ~uint64_t{0};
  EXPECT_TRUE(refused());
  kernel_ = good;
  initrd_bytes_ = ~uint64_t{0};
  EXPECT_TRUE(refused());
}

// A map of ranges that follow one another, some with a gap, some with something
// in them; and what of it is preserved.
class RandomHost {
 public:
  explicit RandomHost(uint32_t seed) : random_(seed) {
    uint64_t at = 0;
    const uint64_t ranges = Number(1, 40);
    for (uint64_t i = 0; i < ranges; ++i) {
      at += Number(0, 2) * Number(0, 64 * kMiB);
      Add(at, Number(1, uint64_t{1} << Number(8, 31)));
      at = end_;
    }
  }

  uint64_t Number(uint64_t least, uint64_t most) {
    return std::uniform_int_distribution<uint64_t>(least, most)(random_);
  }

  const std::string& iomem() const { return iomem_; }
  const std::vector<PhysRange>& preserved() const { return preserved_; }

 private:
  void Add(uint64_t start, uint64_t size) {
    constexpr const char* kNames[] = {
        "System RAM",     "System RAM",  "System RAM",
        "Reserved",       "ACPI Tables", "Persistent Memory (legacy)",
        "PCI Bus 0000:00"};
    const char* name = kNames[Number(0, std::size(kNames) - 1)];
    end_ = start + size;
    absl::StrAppendFormat(&iomem_, "%08x-%08x : %s\n", start, end_ - 1, name);
    if (absl::string_view(name) == kLegacyPersistentMemory) {
      preserved_.push_back({.start = start, .size_bytes = size});
    } else if (Number(0, 4) == 0) {
      const uint64_t inner = start + Number(0, size - 1);
      constexpr const char* kInner[] = {"Crash kernel", "Kernel code",
                                        "Reserved"};
      absl::StrAppendFormat(&iomem_, "  %08x-%08x : %s\n", inner,
                            Number(inner, end_ - 1), kInner[Number(0, 2)]);
    }
  }

  std::mt19937_64 random_;
  uint64_t end_ = 0;
  std::string iomem_;
  std::vector<PhysRange> preserved_;
};

TEST_F(LoadPlanTest, TouchesOnlyFreeRamWhateverTheMap) {
  constexpr uint32_t kHosts = 3000;
  uint32_t planned = 0;
  for (uint32_t seed = 0; seed < kHosts; ++seed) {
    SCOPED_TRACE(absl::StrFormat("seed %d", seed));
    RandomHost host(seed);
    iomem_ = host.iomem();
    untouched_ = host.preserved();
    kernel_.movable = seed % 4 != 0;
    kernel_.memory_bytes = host.Number(40, 100) * kMiB;
    kernel_.alignment = uint64_t{1} << host.Number(12, 24);
    initrd_bytes_ = host.Number(0, 1) * host.Number(1, 300 * kMiB);
    const auto plan = Plan();  // Looks at the plan, too.
    ASSERT_FALSE(HasFailure()) << iomem_;
    if (plan.ok()) {
      ++planned;
    } else {
      ASSERT_THAT(
          plan, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("0x")))
          << iomem_;
    }
  }
  // Neither is rare, or the maps show nothing.
  EXPECT_GT(planned, kHosts / 4);
  EXPECT_LT(planned, kHosts);
}

TEST_F(LoadPlanTest, FindsAPlaceWhereThereIsOne) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    RandomHost host(seed);
    kernel_.movable = true;
    iomem_ = host.iomem();
    untouched_ = host.preserved();
    // After all else, and twice what is needed.
    iomem_ += "10000000000-1003fffffff : System RAM\n";
    EXPECT_THAT(Plan(), IsOk()) << iomem_;
  }
}

}  // namespace
}  // namespace live_update::loader
