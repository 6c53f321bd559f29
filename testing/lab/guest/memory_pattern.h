#ifndef TESTING_LAB_GUEST_MEMORY_PATTERN_H_
#define TESTING_LAB_GUEST_MEMORY_PATTERN_H_

#include <cstdint>
#include <span>

// Memory whose every word is known from its place and a seed, so that any word
// that is lost, stale or swapped with another shows.
class MemoryPattern {
 public:
  // `words` must outlive the pattern. Fills them all.
  MemoryPattern(std::span<uint64_t> words, uint64_t seed);

  struct Verdict {
    uint64_t checksum =
        0;  // Over what the memory holds now; the same for every clean pass.
    uint64_t bad_words = 0;  // That differ from the pattern.
    uint64_t first_bad =
        0;  // Index of the first of them; only with bad_words > 0.
  };

  // Verifies words [begin, end) and adds the outcome to `verdict`. `end` beyond
  // the last word means the last word.
  void Verify(uint64_t begin, uint64_t end, Verdict& verdict) const;

  uint64_t size() const { return words_.size(); }

 private:
  uint64_t Expected(uint64_t index) const;

  std::span<uint64_t> words_;
  uint64_t seed_;
};

#endif  // TESTING_LAB_GUEST_MEMORY_PATTERN_H_
