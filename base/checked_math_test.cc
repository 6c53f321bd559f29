#include "base/checked_math.h"

#include <limits>

#include "gtest/gtest.h"

namespace live_update {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(CheckedMathTest, AddsUpToTheLastNumberAndNotPastIt) {
  EXPECT_EQ(CheckedAdd(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
}

TEST(CheckedMathTest, MultipliesUpToTheLastNumberAndNotPastIt) {
  EXPECT_EQ(CheckedMultiply(kMax / 3, 3), kMax);
  EXPECT_EQ(CheckedMultiply(kMax / 2, 3), std::nullopt);
}

TEST(CheckedMathTest, AlignsUp) {
  EXPECT_EQ(CheckedAlignUp(0, 8), 0);
  EXPECT_EQ(CheckedAlignUp(1, 8), 8);
  EXPECT_EQ(CheckedAlignUp(8, 8), 8);
  EXPECT_EQ(CheckedAlignUp(kMax - 7, 8), kMax - 7);
  EXPECT_EQ(CheckedAlignUp(kMax - 6, 8), std::nullopt);
}

TEST(CheckedMathTest, FitsWithinDoesNotWrap) {
  EXPECT_TRUE(FitsWithin(0, 10, 10));
  EXPECT_TRUE(FitsWithin(10, 0, 10));
  EXPECT_FALSE(FitsWithin(1, 10, 10));
  EXPECT_FALSE(FitsWithin(11, 0, 10));
  EXPECT_FALSE(FitsWithin(8, kMax, 10));
  EXPECT_FALSE(FitsWithin(kMax, 8, 10));
}

}  // namespace
}  // namespace live_update
