#include "loader/payload.h"

#include <lz4.h>
#include <lzma.h>
#include <zstd.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/byte_reader.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

std::string Number(uint64_t number) {
  std::string bytes(4, '\0');
  Poke<uint32_t>(&bytes, 0, static_cast<uint32_t>(number));
  return bytes;
}

std::string Xz(const std::string& bytes) {
  std::string packed(lzma_stream_buffer_bound(bytes.size()), '\0');
  size_t size = 0;
  lzma_easy_buffer_encode(
      0, LZMA_CHECK_CRC32, nullptr,
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
      reinterpret_cast<uint8_t*>(packed.data()), &size, packed.size());
  packed.resize(size);
  return packed;
}

std::string Zstd(const std::string& bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes.data(),
                              bytes.size(), 3));
  return packed;
}

// Blocks of 8 MiB, as `lz4 -l` makes them.
std::string Lz4(const std::string& bytes) {
  std::string stream = "\x02\x21\x4c\x18";
  for (size_t at = 0; at < bytes.size(); at += 8 << 20) {
    const std::string block = bytes.substr(at, 8 << 20);
    const int bound = LZ4_compressBound(static_cast<int>(block.size()));
    std::string packed(static_cast<size_t>(bound), '\0');
    packed.resize(static_cast<size_t>(LZ4_compress_default(
        block.data(), packed.data(), static_cast<int>(block.size()), bound)));
    absl::StrAppend(&stream, Number(packed.size()), packed);
  }
  return stream;
}

struct Format {
  const char* name;
  std::function<std::string(const std::string&)> pack;
  bool has_trailer;
};

class UnpackTest : public ::testing::TestWithParam<Format> {
 protected:
  // A payload as it lies in a bzImage.
  std::string Pack(const std::string& bytes) const {
    return absl::StrCat(GetParam().pack(bytes),
                        GetParam().has_trailer ? Number(bytes.size()) : "");
  }
};

INSTANTIATE_TEST_SUITE_P(
    Formats, UnpackTest,
    ::testing::Values(
        Format{"gzip", [](const std::string& b) { return Gzip(b); }, false},
        Format{"xz", Xz, true}, Format{"zstd", Zstd, true},
        Format{"lz4", Lz4, true}),
    [](const auto& test) { return std::string(test.param.name); });

// More than one chunk of the readers, and more than one block of lz4.
std::string Contents() {
  std::string bytes;
  bytes.reserve(9 << 20);
  for (uint32_t i = 0; bytes.size() < (9 << 20); ++i) {
    absl::StrAppend(&bytes, i * 2654435761u, "\n");
  }
  return bytes;
}

TEST_P(UnpackTest, GivesTheContentsBack) {
  const std::string contents = Contents();
  const std::string payload = Pack(contents);
  EXPECT_EQ(CompressionOf(AsBytes(payload)), GetParam().name);
  ASSERT_OK_AND_ASSIGN(const std::string unpacked, Unpack(AsBytes(payload)));
  EXPECT_TRUE(unpacked == contents);
}

TEST_P(UnpackTest, RefusesATruncatedPayload) {
  const std::string payload = Pack(Contents());
  for (const size_t size :
       {payload.size() - 1, payload.size() / 2, size_t{9}}) {
    EXPECT_FALSE(Unpack(AsBytes(payload.substr(0, size))).ok()) << size;
  }
}

TEST_P(UnpackTest, EndsAtTheLimit) {
  const std::string bomb = Pack(std::string(20 << 20, '\0'));
  EXPECT_THAT(Unpack(AsBytes(bomb), 4 << 20),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("more than 4194304 bytes")));
}

TEST_P(UnpackTest, EndsWhereTheTrailerSays) {
  if (!GetParam().has_trailer) GTEST_SKIP() << "gzip has no such trailer";
  const std::string bomb = absl::StrCat(
      GetParam().pack(std::string(20 << 20, '\0')), Number(1 << 20));
  EXPECT_FALSE(Unpack(AsBytes(bomb)).ok());
}

TEST_P(UnpackTest, RefusesAnEmptyOne) {
  EXPECT_FALSE(Unpack(AsBytes(GetParam().pack("").substr(0, 4))).ok());
}

TEST(UnpackTest, SaysWhatItDoesNotRead) {
  EXPECT_THAT(Unpack(AsBytes("BZh91AY")),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("bzip2")));
  EXPECT_THAT(Unpack({}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("unknown")));
}

}  // namespace
}  // namespace live_update::loader
