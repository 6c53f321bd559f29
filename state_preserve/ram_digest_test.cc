#include "state_preserve/ram_digest.h"

#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_rules.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

const absl::Time kNever = absl::InfiniteFuture();
constexpr char kSeed[] = "7d9e1f00-1111-4222-8333-444455556666";

// A VM of memfds.
class RamDigestTest : public ::testing::Test {
 protected:
  // A block of zeroes, sparse.
  void AddBlock(const std::string& name, uint64_t size_bytes) {
    fds_.push_back(
        std::make_unique<UniqueFd>(memfd_create(name.c_str(), MFD_CLOEXEC)));
    ASSERT_EQ(ftruncate(fds_.back()->get(), static_cast<off_t>(size_bytes)), 0);
    blocks_.push_back(
        {.name = name, .size_bytes = size_bytes, .fd = fds_.back().get()});
    RamBlock& block = *vm_.add_blocks();
    block.set_name(name);
    block.set_size_bytes(size_bytes);
    block.mutable_in_place()->set_token(name);
  }
  void Write(size_t block, uint64_t offset) {
    ASSERT_EQ(pwrite(fds_[block]->get(), "x", 1, static_cast<off_t>(offset)),
              1);
  }

  VmRecord vm_;
  std::vector<std::unique_ptr<UniqueFd>> fds_;
  std::vector<RamToDigest> blocks_;
};

TEST_F(RamDigestTest, StopAtTheDeadlineAndSayHowFarTheyCame) {
  AddBlock("pc.ram", 8 << 20);
  EXPECT_THAT(
      DigestRam(blocks_, RamCoverage::kAll, kSeed, 2, absl::InfinitePast()),
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               HasSubstr("0 of 8388608 bytes done")));
  ASSERT_OK_AND_ASSIGN(const RamDigests digests,
                       DigestRam(blocks_, RamCoverage::kAll, kSeed, 2, kNever));
  EXPECT_THAT(VerifyRam(digests, blocks_, 2, absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("0 of 8388608 bytes done")));
}

TEST_F(RamDigestTest, ASampleHasFirstAndLastPagesAndKeepsTheRules) {
  AddBlock("pc.ram", (uint64_t{1} << 30) + 100);
  AddBlock("small", 10);
  ASSERT_OK_AND_ASSIGN(
      const RamDigests digests,
      DigestRam(blocks_, RamCoverage::kSample, kSeed, 1, kNever));
  EXPECT_THAT(CheckRamDigests(digests, vm_), IsOk());
  ASSERT_EQ(digests.blocks_size(), 2);
  EXPECT_GE(digests.blocks(0).chunks_size(), 60);
  EXPECT_LE(digests.blocks(0).chunks_size(), 64);
  EXPECT_EQ(*digests.blocks(0).chunks().begin(), 0);
  EXPECT_EQ(*digests.blocks(0).chunks().rbegin(), (1 << 30) / 4096);
  EXPECT_EQ(digests.blocks(1).chunks_size(), 1);
  EXPECT_THAT(VerifyRam(digests, blocks_, 1, kNever), IsOk());
}

TEST_F(RamDigestTest, EachUpdateTakesItsOwnSample) {
  AddBlock("pc.ram", 1 << 30);
  const auto plan = [this](const char* seed) {
    return PlanRamDigests(blocks_, RamCoverage::kSample, seed).DebugString();
  };
  EXPECT_EQ(plan("a"), plan("a"));
  EXPECT_NE(plan("a"), plan("b"));
}

TEST_F(RamDigestTest, ASampleFindsAChangeInItsPages) {
  AddBlock("pc.ram", 64 << 20);
  ASSERT_OK_AND_ASSIGN(
      const RamDigests digests,
      DigestRam(blocks_, RamCoverage::kSample, kSeed, 1, kNever));
  const uint64_t page = digests.blocks(0).chunks(5);
  Write(0, page * 4096 + 17);
  EXPECT_THAT(VerifyRam(digests, blocks_, 1, kNever),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("1 of 64 digests differ"),
                             HasSubstr(absl::StrFormat("pc.ram at %#x+0x1000",
                                                       page * 4096)))));
}

TEST_F(RamDigestTest, AllFindsASingleByteAnywhere) {
  AddBlock("ram-node0", 8 << 20);
  AddBlock("dimm0", (4 << 20) + 5);
  ASSERT_OK_AND_ASSIGN(const RamDigests digests,
                       DigestRam(blocks_, RamCoverage::kAll, kSeed, 4, kNever));
  EXPECT_THAT(CheckRamDigests(digests, vm_), IsOk());
  EXPECT_EQ(digests.blocks(0).digests_size(), 4);
  EXPECT_EQ(digests.blocks(1).digests_size(), 3);
  EXPECT_THAT(VerifyRam(digests, blocks_, 4, kNever), IsOk());
  Write(1, (4 << 20) + 4);
  EXPECT_THAT(VerifyRam(digests, blocks_, 4, kNever),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("1 of 7 digests differ"),
                             HasSubstr("dimm0 at 0x400000+0x5"))));
}

TEST_F(RamDigestTest, MuchRamTakesLargerChunksNotMoreOfThem) {
  blocks_ = {{.name = "huge", .size_bytes = uint64_t{4} << 40}};
  const RamDigests plan = PlanRamDigests(blocks_, RamCoverage::kAll, kSeed);
  EXPECT_EQ(plan.chunk_bytes(), uint64_t{64} << 20);
}

TEST_F(RamDigestTest, MemoryThatBecameShorterIsAnErrorNotASignal) {
  AddBlock("pc.ram", 1 << 20);
  ASSERT_EQ(ftruncate(fds_[0]->get(), 4096), 0);
  EXPECT_THAT(DigestRam(blocks_, RamCoverage::kAll, kSeed, 1, kNever),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("the memory ends there")));
}

TEST_F(RamDigestTest, AHashThatIsNotKnownIsNotCheckedAndSaysSo) {
  AddBlock("pc.ram", 1 << 20);
  ASSERT_OK_AND_ASSIGN(RamDigests digests,
                       DigestRam(blocks_, RamCoverage::kAll, kSeed, 1, kNever));
  EXPECT_EQ(DescribeRamDigests(digests),
            "all of it, 1 chunks of 2097152 bytes");
  digests.set_hash(static_cast<RamDigests::Hash>(77));
  Write(0, 0);
  EXPECT_THAT(VerifyRam(digests, blocks_, 1, kNever), IsOk());
  EXPECT_THAT(DescribeRamDigests(digests), HasSubstr("hash 77 is not known"));
}

// What a hostile image could ask for.
TEST_F(RamDigestTest, RulesRefuseChunksOutsideTheirBlock) {
  AddBlock("pc.ram", 1 << 20);
  ASSERT_OK_AND_ASSIGN(
      const RamDigests good,
      DigestRam(blocks_, RamCoverage::kSample, kSeed, 1, kNever));
  const auto refused = [&](auto change) {
    RamDigests digests = good;
    change(digests);
    return CheckRamDigests(digests, vm_);
  };
  const auto invalid = [](const char* why) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why));
  };
  const int last = good.blocks(0).chunks_size() - 1;
  EXPECT_THAT(refused([&](RamDigests& d) {
                d.mutable_blocks(0)->set_chunks(last, ~uint64_t{0});
              }),
              invalid("chunk 18446744073709551615"));
  EXPECT_THAT(refused([&](RamDigests& d) {
                d.mutable_blocks(0)->set_chunks(last, 256);
              }),
              invalid("the 256 of the block"));
  EXPECT_THAT(
      refused([](RamDigests& d) { d.mutable_blocks(0)->set_chunks(1, 0); }),
      invalid("chunk 0: not between"));
  EXPECT_THAT(
      refused([](RamDigests& d) { d.mutable_blocks(0)->add_digests(1); }),
      invalid("digests for"));
  EXPECT_THAT(refused([](RamDigests& d) { d.set_all_chunks(true); }),
              invalid("for all of"));
  EXPECT_THAT(refused([](RamDigests& d) { *d.add_blocks() = d.blocks(0); }),
              invalid("or twice"));
  EXPECT_THAT(
      refused([](RamDigests& d) { d.mutable_blocks(0)->set_name("pc.bios"); }),
      invalid("no such block in place"));
  for (const uint64_t bytes :
       {uint64_t{0}, uint64_t{2048}, uint64_t{5000}, uint64_t{1} << 31}) {
    EXPECT_THAT(refused([bytes](RamDigests& d) { d.set_chunk_bytes(bytes); }),
                invalid("chunks of"));
  }
}

}  // namespace
}  // namespace live_update
