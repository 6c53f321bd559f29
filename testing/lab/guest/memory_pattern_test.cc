#include "testing/lab/guest/memory_pattern.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace {

constexpr uint64_t kSeed = 7;

TEST(MemoryPatternTest, FreshMemoryIsClean) {
  std::vector<uint64_t> words(1000);
  const MemoryPattern pattern(words, kSeed);
  MemoryPattern::Verdict verdict;
  pattern.Verify(0, words.size(), verdict);
  EXPECT_EQ(verdict.bad_words, 0U);
}

TEST(MemoryPatternTest, ChecksumDoesNotDependOnHowAPassIsCut) {
  std::vector<uint64_t> words(1000);
  const MemoryPattern pattern(words, kSeed);
  MemoryPattern::Verdict whole;
  pattern.Verify(0, words.size(), whole);
  MemoryPattern::Verdict parts;
  pattern.Verify(0, 300, parts);
  pattern.Verify(300, 2000, parts);
  EXPECT_EQ(whole.checksum, parts.checksum);
}

TEST(MemoryPatternTest, SeesTwoSwappedPages) {
  std::vector<uint64_t> words(2048);
  const MemoryPattern pattern(words, kSeed);
  for (uint64_t i = 0; i < 512; ++i)
    std::swap(words[i + 512], words[i + 1024]);  // 512 words are a page.
  MemoryPattern::Verdict verdict;
  pattern.Verify(0, words.size(), verdict);
  EXPECT_EQ(verdict.bad_words, 1024U);
  EXPECT_EQ(verdict.first_bad, 512U);
}

TEST(MemoryPatternTest, SeesAPageOfZeros) {
  std::vector<uint64_t> words(1024);
  const MemoryPattern pattern(words, kSeed);
  for (uint64_t i = 512; i < 1024; ++i) words[i] = 0;
  MemoryPattern::Verdict verdict;
  pattern.Verify(0, words.size(), verdict);
  EXPECT_EQ(verdict.bad_words, 512U);
}

TEST(MemoryPatternTest, AnotherSeedIsAnotherPattern) {
  std::vector<uint64_t> words(16);
  const MemoryPattern mine(words, kSeed);
  std::vector<uint64_t> others(16);
  const MemoryPattern theirs(others, kSeed + 1);
  EXPECT_NE(words, others);
}

}  // namespace
