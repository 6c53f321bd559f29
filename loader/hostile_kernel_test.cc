// Kernel files made to do harm: each must end with an error that says why, in
// bounded time, and in memory that has to do with what a kernel is, not with
// what the file claims.

#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <sys/resource.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/byte_reader.h"
#include "loader/kernel_facts.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kBombMiB = 1024;

#ifdef __SANITIZE_ADDRESS__
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

absl::StatusOr<KernelFacts> FactsOf(const std::string& file) {
  LU_ASSIGN_OR_RETURN(const KernelImage image, ReadKernelImage(AsBytes(file)));
  return ReadKernelFacts(AsBytes(file), image);
}

std::string Packed(const std::string& payload) {
  TestBzImage image;
  image.payload = payload;
  return MakeBzImage(image);
}

std::string Number(uint32_t number) {
  std::string bytes(4, '\0');
  Poke<uint32_t>(&bytes, 0, number);
  return bytes;
}

uint64_t PeakBytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// That reading `file` ends soon with `code`, having taken at most `bytes` more
// than was ever taken before.
void ExpectEnds(const std::string& file, absl::StatusCode code,
                const std::string& message, uint64_t bytes) {
  const uint64_t before = PeakBytes();
  const absl::Time start = absl::Now();
  EXPECT_THAT(FactsOf(file), StatusIs(code, HasSubstr(message)));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  // AddressSanitizer's allocator keeps what is freed.
  if (!kAddressSanitizer) {
    EXPECT_LT(PeakBytes() - before, bytes);
  }
}

// Zeros, a MiB at a time, so that the test does not need the memory that it
// forbids. `trailer` is the length that the payload claims.
std::string GzipBomb(uint32_t trailer) {
  std::string zeros(kMiB, '\0');
  std::string chunk(64 << 10, '\0');
  std::string bomb;
  z_stream z{};
  deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 16 + MAX_WBITS, 8,
               Z_DEFAULT_STRATEGY);
  for (size_t i = 0; i < kBombMiB; ++i) {
    z.next_in = reinterpret_cast<Bytef*>(zeros.data());
    z.avail_in = static_cast<uInt>(zeros.size());
    z.next_out = reinterpret_cast<Bytef*>(chunk.data());
    z.avail_out = static_cast<uInt>(chunk.size());
    deflate(&z, i + 1 == kBombMiB ? Z_FINISH : Z_NO_FLUSH);
    bomb.append(chunk, 0, chunk.size() - z.avail_out);
  }
  deflateEnd(&z);
  bomb.replace(bomb.size() - 4, 4, Number(trailer));
  return bomb;
}

std::string XzBomb(uint32_t trailer) {
  const std::string zeros(kMiB, '\0');
  std::array<uint8_t, 64 << 10> chunk;
  std::string bomb;
  lzma_stream lzma = LZMA_STREAM_INIT;
  EXPECT_EQ(lzma_easy_encoder(&lzma, 0, LZMA_CHECK_NONE), LZMA_OK);
  for (size_t i = 0; i < 128; ++i) {  // It is slow; 128 MiB say the same.
    lzma.next_in = reinterpret_cast<const uint8_t*>(zeros.data());
    lzma.avail_in = zeros.size();
    lzma_ret result = LZMA_OK;
    do {
      lzma.next_out = chunk.data();
      lzma.avail_out = chunk.size();
      result = lzma_code(&lzma, i == 127 ? LZMA_FINISH : LZMA_RUN);
      bomb.append(reinterpret_cast<char*>(chunk.data()),
                  chunk.size() - lzma.avail_out);
    } while (result == LZMA_OK && (i == 127 || lzma.avail_in > 0));
  }
  lzma_end(&lzma);
  return absl::StrCat(bomb, Number(trailer));
}

std::string ZstdBomb(uint32_t trailer) {
  const std::string zeros(kMiB, '\0');
  std::string chunk(256 << 10, '\0');
  std::string bomb;
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  for (size_t i = 0; i < kBombMiB; ++i) {
    ZSTD_inBuffer in{.src = zeros.data(), .size = zeros.size(), .pos = 0};
    const bool last = i + 1 == kBombMiB;
    size_t left = 0;
    do {
      ZSTD_outBuffer out{.dst = chunk.data(), .size = chunk.size(), .pos = 0};
      left = ZSTD_compressStream2(context, &out, &in,
                                  last ? ZSTD_e_end : ZSTD_e_continue);
      bomb.append(chunk, 0, out.pos);
    } while (last ? left != 0 : in.pos < in.size);
  }
  ZSTD_freeCCtx(context);
  return absl::StrCat(bomb, Number(trailer));
}

std::string Lz4Bomb(uint32_t trailer) {
  const std::string zeros(8 * kMiB, '\0');
  const int bound = LZ4_compressBound(static_cast<int>(zeros.size()));
  std::string block(static_cast<size_t>(bound), '\0');
  block.resize(static_cast<size_t>(LZ4_compress_default(
      zeros.data(), block.data(), static_cast<int>(zeros.size()), bound)));
  std::string bomb = "\x02\x21\x4c\x18";
  for (size_t i = 0; i < kBombMiB / 8; ++i) {
    absl::StrAppend(&bomb, Number(static_cast<uint32_t>(block.size())), block);
  }
  return absl::StrCat(bomb, Number(trailer));
}

struct Bomb {
  const char* name;
  std::string (*make)(uint32_t trailer);
};

class BombTest : public ::testing::TestWithParam<Bomb> {};

INSTANTIATE_TEST_SUITE_P(
    Formats, BombTest,
    ::testing::Values(Bomb{"gzip", GzipBomb}, Bomb{"xz", XzBomb},
                      Bomb{"zstd", ZstdBomb}, Bomb{"lz4", Lz4Bomb}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(BombTest, EndsBeforeItBeginsIfItTellsTheTruth) {
  ExpectEnds(Packed(GetParam().make(uint32_t{1} << 30)),
             absl::StatusCode::kResourceExhausted, "more than 536870912 bytes",
             16 * kMiB);
}

TEST_P(BombTest, EndsWhereItsLieEnds) {
  ExpectEnds(Packed(GetParam().make(8 * kMiB)),
             absl::StatusCode::kResourceExhausted, "more than 8388608 bytes",
             64 * kMiB);
}

// Decoders that are told to keep gigabytes of history.

TEST(HostileKernelTest, EndsAtADictionaryLargerThanAKernelMayHave) {
  lzma_options_lzma options;
  ASSERT_FALSE(lzma_lzma_preset(&options, 0));
  options.dict_size = uint32_t{1} << 30;
  // The header tells the size; no encoder is needed that would want it too.
  std::string properties(5, '\0');
  Poke<uint8_t>(&properties, 0, 0x5d);
  Poke<uint32_t>(&properties, 1, options.dict_size);
  ExpectEnds(Packed(absl::StrCat(properties, std::string(8, '\xff'),
                                 std::string(64, '\0'), Number(4096))),
             absl::StatusCode::kResourceExhausted,
             "wants more than 167772160 bytes", 16 * kMiB);
}

TEST(HostileKernelTest, EndsAtAWindowLargerThanAKernelMayHave) {
  // Frame header without a content size; a window of 1 GiB.
  const std::string frame =
      absl::StrCat("\x28\xb5\x2f\xfd", absl::string_view("\0", 1),
                   absl::string_view("\xa0", 1), std::string(64, '\0'));
  ExpectEnds(Packed(absl::StrCat(frame, Number(4096))),
             absl::StatusCode::kInvalidArgument, "zstd: ", 16 * kMiB);
}

TEST(HostileKernelTest, LeavesAConfigurationThatIsABomb) {
  ASSERT_OK_AND_ASSIGN(
      const KernelFacts facts,
      FactsOf(MakeElfKernel(absl::StrCat(TestKernelContents(), "IKCFG_ST",
                                         GzipBomb(0), "IKCFG_ED"))));
  EXPECT_EQ(facts.embedded_config, "");
}

// Lies in the ELF header.

class ElfLieTest : public ::testing::Test {
 protected:
  template <typename T>
  void Lie(size_t offset, T number) {
    Poke<T>(&vmlinux_, offset, number);
  }
  // As a file of its own, and as what a bzImage unpacks to.
  void ExpectRefused(const std::string& message) const {
    ExpectEnds(vmlinux_, absl::StatusCode::kInvalidArgument, message,
               16 * kMiB);
    ExpectEnds(Packed(Gzip(vmlinux_)), absl::StatusCode::kInvalidArgument,
               message, 16 * kMiB);
  }

  std::string vmlinux_ = MakeElfKernel(TestKernelContents());
};

TEST_F(ElfLieTest, HasMoreSectionsThanAKernel) {
  Lie<uint64_t>(offsetof(Elf64_Ehdr, e_shoff), 64);
  Lie<uint16_t>(offsetof(Elf64_Ehdr, e_shentsize), sizeof(Elf64_Shdr));
  Lie<uint16_t>(offsetof(Elf64_Ehdr, e_shnum), 0xfeff);
  ExpectRefused("65279 section headers");
}

TEST_F(ElfLieTest, HidesItsNumberOfSectionsInTheFirstOne) {
  // e_shnum 0: sh_size of section 0 is the number; here 2^48.
  Lie<uint64_t>(offsetof(Elf64_Ehdr, e_shoff), 0x100);
  Lie<uint16_t>(offsetof(Elf64_Ehdr, e_shentsize), sizeof(Elf64_Shdr));
  Lie<uint64_t>(0x100 + offsetof(Elf64_Shdr, sh_size), uint64_t{1} << 48);
  ExpectRefused("0 section headers");
}

TEST_F(ElfLieTest, HasItsSectionsBeyondTheFile) {
  Lie<uint64_t>(offsetof(Elf64_Ehdr, e_shoff), ~uint64_t{0} - 63);
  Lie<uint16_t>(offsetof(Elf64_Ehdr, e_shentsize), sizeof(Elf64_Shdr));
  Lie<uint16_t>(offsetof(Elf64_Ehdr, e_shnum), 40);
  ExpectRefused("section headers are missing");
}

TEST_F(ElfLieTest, HasItsProgramHeadersBeyondTheFile) {
  Lie<uint64_t>(offsetof(Elf64_Ehdr, e_phoff), ~uint64_t{0} - 8);
  ExpectRefused("program headers are missing");
}

TEST_F(ElfLieTest, HasProgramHeadersOfAnotherSize) {
  Lie<uint16_t>(offsetof(Elf64_Ehdr, e_phentsize), 0xffff);
  ExpectRefused("2 program headers of 65535 bytes");
}

TEST(HostileKernelTest, RefusesSegmentsThatAreTheSameBytesManyTimes) {
  // Each would be searched: 100 headers make a small file 100 times as large.
  constexpr size_t kSegments = 100;
  std::string file = MakeElfKernel("");
  file.resize(kMiB);
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_phnum), kSegments);
  for (size_t i = 0; i < kSegments; ++i) {
    Elf64_Phdr program{};
    program.p_type = PT_LOAD;
    program.p_filesz = file.size();
    program.p_memsz = file.size();
    file.replace(sizeof(Elf64_Ehdr) + i * sizeof(program), sizeof(program),
                 reinterpret_cast<const char*>(&program), sizeof(program));
  }
  ExpectEnds(file, absl::StatusCode::kInvalidArgument,
             "segment 1: all segments together", 16 * kMiB);
}

TEST(HostileKernelTest, RefusesAnotherArchitectureThanTheHeaderTells) {
  std::string vmlinux = MakeElfKernel(TestKernelContents());
  Poke<uint16_t>(&vmlinux, offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
  ExpectEnds(Packed(Gzip(vmlinux)), absl::StatusCode::kInvalidArgument,
             "a kernel for x86-64, and it unpacks to one for aarch64",
             16 * kMiB);
}

TEST(HostileKernelTest, RefusesMoreAbiStringsThanAKernelHas) {
  std::string contents = TestKernelContents();
  for (int i = 0; i < 70; ++i) {
    absl::StrAppend(&contents, "luo-x", i, "-v1", absl::string_view("\0", 1));
  }
  ExpectEnds(MakeElfKernel(contents), absl::StatusCode::kInvalidArgument,
             "more than 64 live-update ABI strings", 16 * kMiB);
}

TEST(HostileKernelTest, EndsAmongCountlessBeginningsOfABanner) {
  std::string contents;
  while (contents.size() < 8 * kMiB) {
    absl::StrAppend(&contents, std::string(60, '1'), "Linux version 1\x01");
  }
  ExpectEnds(MakeElfKernel(contents), absl::StatusCode::kInvalidArgument,
             "not a Linux kernel", 16 * kMiB);
}

// A file that a broken copy or download cut off, at each 4 KiB.

std::string Noise(size_t bytes) {
  std::string noise;
  uint32_t state = 1;
  while (noise.size() < bytes) {
    state = state * 1664525 + 1013904223;
    noise.push_back(static_cast<char>(state >> 24));
  }
  return noise;
}

TEST(HostileKernelTest, RefusesABzImageCutOffAnywhere) {
  const std::string file = Packed(Gzip(
      MakeElfKernel(absl::StrCat(TestKernelContents(), Noise(256 << 10)))));
  ASSERT_TRUE(FactsOf(file).ok());
  ASSERT_GT(file.size(), size_t{256} << 10);
  for (size_t size = 0; size < file.size(); size += 4096) {
    EXPECT_THAT(FactsOf(file.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(size == 0 ? "empty" : "truncated")))
        << size;
  }
}

TEST(HostileKernelTest, RefusesAVmlinuxCutOffAnywhere) {
  std::string file =
      MakeElfKernel(absl::StrCat(TestKernelContents(), Noise(256 << 10)));
  // Its section headers stand at its end, as a linker puts them.
  file.resize((file.size() + 63) / 64 * 64);
  Poke<uint64_t>(&file, offsetof(Elf64_Ehdr, e_shoff), file.size());
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_shentsize), sizeof(Elf64_Shdr));
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_shnum), 1);
  file.append(sizeof(Elf64_Shdr), '\0');
  ASSERT_TRUE(FactsOf(file).ok());
  for (size_t size = 0; size < file.size(); size += 4096) {
    EXPECT_THAT(FactsOf(file.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(size == 0 ? "empty" : "truncated")))
        << size;
  }
  EXPECT_FALSE(FactsOf(file.substr(0, file.size() - 1)).ok());
}

}  // namespace
}  // namespace live_update::loader
