#include "base/crc32c.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace live_update {
namespace {

// RFC 3720, B.4, and the check value of the catalogue of CRCs.
TEST(Crc32cTest, MatchesPublishedVectors) {
  EXPECT_EQ(Crc32c(""), 0);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aa);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending += c;
  EXPECT_EQ(Crc32c(ascending), 0x46dd794e);
}

TEST(Crc32cTest, TableMatchesAPublishedVector) {
  const std::string text = "123456789";
  EXPECT_EQ(internal::ExtendCrc32cByTable(
                0, absl::MakeConstSpan(
                       reinterpret_cast<const uint8_t*>(text.data()), 9)),
            0xe3069283);
}

class Crc32cOfRandomBytes : public ::testing::Test {
 protected:
  Crc32cOfRandomBytes() : bytes_(300) {
    std::mt19937 generator(1);  // Any seed would do.
    for (uint8_t& byte : bytes_) byte = static_cast<uint8_t>(generator());
  }
  // All lengths from none over several words, at all alignments.
  template <typename Check>
  void ForEachSlice(Check check) {
    for (size_t begin = 0; begin < 8; ++begin) {
      for (size_t size = 0; begin + size <= bytes_.size(); ++size) {
        check(absl::MakeConstSpan(bytes_).subspan(begin, size));
      }
    }
  }
  std::vector<uint8_t> bytes_;
};

TEST_F(Crc32cOfRandomBytes, BothWaysAgree) {
  if (!internal::HasCrc32cInstruction()) {
    GTEST_SKIP() << "this processor has no SSE 4.2";
  }
  ForEachSlice([](absl::Span<const uint8_t> slice) {
    EXPECT_EQ(internal::ExtendCrc32cByTable(7, slice),
              internal::ExtendCrc32cByInstruction(7, slice));
  });
}

TEST_F(Crc32cOfRandomBytes, ExtendingByPartsEqualsTheWhole) {
  ForEachSlice([this](absl::Span<const uint8_t> slice) {
    const size_t begin = slice.data() - bytes_.data();
    const auto upto =
        absl::MakeConstSpan(bytes_).subspan(0, begin + slice.size());
    EXPECT_EQ(ExtendCrc32c(Crc32c(upto.subspan(0, begin)), slice),
              Crc32c(upto));
  });
}

}  // namespace
}  // namespace live_update
