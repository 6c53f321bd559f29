#include "testing/lab/guest/memory_pattern.h"

#include <algorithm>
#include <cstdint>
#include <span>

MemoryPattern::MemoryPattern(std::span<uint64_t> words, uint64_t seed)
    : words_(words), seed_(seed) {
  for (uint64_t i = 0; i < words_.size(); ++i) words_[i] = Expected(i);
}

// One multiplication and a shift: the pattern has to be cheap in an emulator
// within an emulator.
uint64_t MemoryPattern::Expected(uint64_t index) const {
  const uint64_t mixed = (index + seed_) * 0x9E3779B97F4A7C15U;
  return mixed ^ (mixed >> 32U);
}

void MemoryPattern::Verify(uint64_t begin, uint64_t end,
                           Verdict& verdict) const {
  end = std::min<uint64_t>(end, words_.size());
  for (uint64_t i = begin; i < end; ++i) {
    const uint64_t word = words_[i];
    verdict.checksum =
        (verdict.checksum << 1U | verdict.checksum >> 63U) ^ word;
    if (word == Expected(i)) continue;
    if (verdict.bad_words == 0) verdict.first_bad = i;
    ++verdict.bad_words;
  }
}
