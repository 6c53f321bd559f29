#include "host_update/libvirt/ram_pages.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr uint64_t kAddress = 0x7f0000000000;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kBytes = 256 * kMiB;

std::string Smaps(const std::string& name) {
  const absl::StatusOr<std::string> text = ReadFile(
      absl::StrCat("host_update/libvirt/ram_pages_fuzz_corpus/", name), kMiB);
  EXPECT_THAT(text, IsOk());
  return text.value_or("");
}

TEST(RamPagesTest, ReadsTheBlocksMappingAmongOthers) {
  ASSERT_OK_AND_ASSIGN(const RamPages pages,
                       ParseRamPages(Smaps("one_block"), kAddress, kBytes));
  EXPECT_EQ(pages.resident_bytes, 256 * kMiB);
  EXPECT_EQ(pages.huge_bytes, 254 * kMiB);
}

TEST(RamPagesTest, AddsTheMappingsOfOneBlockUp) {
  ASSERT_OK_AND_ASSIGN(const RamPages pages,
                       ParseRamPages(Smaps("two_parts"), kAddress, kBytes));
  EXPECT_EQ(pages.resident_bytes, 129 * kMiB);
  EXPECT_EQ(pages.huge_bytes, 128 * kMiB);
}

TEST(RamPagesTest, CountsHugePagesOfFilesToo) {
  ASSERT_OK_AND_ASSIGN(const RamPages pages,
                       ParseRamPages(Smaps("file_of_dax"), kAddress, kBytes));
  EXPECT_EQ(pages.huge_bytes, 256 * kMiB);
}

TEST(RamPagesTest, SaysThatNothingIsMappedThere) {
  for (const char* name : {"empty", "backwards"}) {
    EXPECT_THAT(ParseRamPages(Smaps(name), kAddress, kBytes),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("0x7f00000")));
  }
  // One that is larger than the block is not its.
  EXPECT_THAT(ParseRamPages(Smaps("one_block"), kAddress, kBytes - 1),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
}

TEST(RamPagesTest, RefusesNumbersThatCannotBe) {
  for (const char* name : {"sum_overflows", "product_overflows",
                           "more_huge_than_resident", "no_number"}) {
    EXPECT_THAT(
        ParseRamPages(Smaps(name), kAddress, kBytes),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("smaps")))
        << name;
  }
  EXPECT_THAT(ParseRamPages("", kAddress, ~uint64_t{0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("range")));
}

}  // namespace
}  // namespace live_update
