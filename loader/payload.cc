#include "loader/payload.h"

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "loader/byte_reader.h"

namespace live_update::loader {
namespace {

constexpr size_t kChunk = 1 << 20;
// The kernel's xz has a dictionary of 128 MiB at most; its decoder needs a
// little more. Its zstd has a window of 128 MiB.
constexpr uint64_t kMaxDecoderBytes = uint64_t{160} << 20;
constexpr int kMaxZstdWindowLog = 27;
constexpr size_t kLz4Block = 8 << 20;  // Of the legacy format.

struct Unpacked {
  std::string bytes;
  uint64_t consumed = 0;  // Bytes of the stream.
};

absl::Status Corrupt(absl::string_view what, uint64_t offset) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s, at offset %#x of the payload", what, offset));
}

absl::Status TooLarge(uint64_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat("unpacks to more than ", limit, " bytes"));
}

// Makes room for one more chunk at the end of `bytes`, within `limit` and one
// byte: a decoder that fills that too has gone beyond it.
size_t Grow(std::string* bytes, uint64_t limit) {
  const size_t filled = bytes->size();
  bytes->resize(std::min<uint64_t>(filled + kChunk, limit + 1));
  return bytes->size() - filled;
}

absl::StatusOr<Unpacked> Inflate(absl::Span<const uint8_t> stream,
                                 uint64_t limit) {
  z_stream z{};
  if (stream.size() > std::numeric_limits<uInt>::max() ||
      inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) {
    return absl::ResourceExhaustedError("zlib does not start");
  }
  const absl::Cleanup end = [&z] { inflateEnd(&z); };
  z.next_in = const_cast<Bytef*>(stream.data());
  z.avail_in = static_cast<uInt>(stream.size());
  Unpacked out;
  for (;;) {
    const size_t room = Grow(&out.bytes, limit);
    z.next_out = reinterpret_cast<Bytef*>(&*out.bytes.end() - room);
    z.avail_out = static_cast<uInt>(room);
    const int result = inflate(&z, Z_NO_FLUSH);
    out.bytes.resize(out.bytes.size() - z.avail_out);
    out.consumed = stream.size() - z.avail_in;
    if (out.bytes.size() > limit) return TooLarge(limit);
    if (result == Z_STREAM_END) return out;
    if (result != Z_OK) {
      return Corrupt(
          absl::StrCat("gzip: ", z.msg != nullptr ? z.msg : "truncated"),
          out.consumed);
    }
  }
}

absl::StatusOr<Unpacked> UnLzma(absl::Span<const uint8_t> stream,
                                uint64_t limit) {
  lzma_stream lzma = LZMA_STREAM_INIT;
  if (lzma_auto_decoder(&lzma, kMaxDecoderBytes, 0) != LZMA_OK) {
    return absl::ResourceExhaustedError("liblzma does not start");
  }
  const absl::Cleanup end = [&lzma] { lzma_end(&lzma); };
  lzma.next_in = stream.data();
  lzma.avail_in = stream.size();
  Unpacked out;
  for (;;) {
    const size_t room = Grow(&out.bytes, limit);
    lzma.next_out = reinterpret_cast<uint8_t*>(&*out.bytes.end() - room);
    lzma.avail_out = room;
    const lzma_ret result = lzma_code(&lzma, LZMA_RUN);
    out.bytes.resize(out.bytes.size() - lzma.avail_out);
    out.consumed = lzma.total_in;
    if (out.bytes.size() > limit) return TooLarge(limit);
    if (result == LZMA_STREAM_END) return out;
    if (result == LZMA_MEMLIMIT_ERROR) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "xz: wants more than ", kMaxDecoderBytes, " bytes of memory"));
    }
    if (result != LZMA_OK) {
      return Corrupt(absl::StrCat("xz: ", result == LZMA_BUF_ERROR ? "truncated"
                                                                   : "corrupt"),
                     out.consumed);
    }
  }
}

struct ZstdEnd {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

absl::StatusOr<Unpacked> UnZstd(absl::Span<const uint8_t> stream,
                                uint64_t limit) {
  const std::unique_ptr<ZSTD_DCtx, ZstdEnd> context(ZSTD_createDCtx());
  if (context == nullptr ||
      ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax,
                                          kMaxZstdWindowLog))) {
    return absl::ResourceExhaustedError("zstd does not start");
  }
  ZSTD_inBuffer in{.src = stream.data(), .size = stream.size(), .pos = 0};
  Unpacked out;
  for (;;) {
    const size_t room = Grow(&out.bytes, limit);
    ZSTD_outBuffer chunk{
        .dst = &*out.bytes.end() - room, .size = room, .pos = 0};
    const size_t in_before = in.pos;
    const size_t result = ZSTD_decompressStream(context.get(), &chunk, &in);
    out.bytes.resize(out.bytes.size() - (room - chunk.pos));
    out.consumed = in.pos;
    if (out.bytes.size() > limit) return TooLarge(limit);
    if (ZSTD_isError(result)) {
      return Corrupt(absl::StrCat("zstd: ", ZSTD_getErrorName(result)),
                     out.consumed);
    }
    if (result == 0) return out;
    if (chunk.pos == 0 && in.pos == in_before) {
      return Corrupt("zstd: truncated", out.consumed);
    }
  }
}

// The legacy format of `lz4 -l`: a magic number, then blocks of 8 MiB, each
// after its compressed length. It has no end mark: the payload's trailer is it.
absl::StatusOr<Unpacked> UnLz4(absl::Span<const uint8_t> stream,
                               uint64_t expected, uint64_t limit) {
  Unpacked out;
  out.consumed = 4;
  while (out.bytes.size() < expected) {
    const auto length = BytesAt(stream, out.consumed, 4);
    if (!length.ok()) return Corrupt("lz4: truncated", out.consumed);
    const uint32_t block_bytes = NumberAt<uint32_t>(stream, out.consumed);
    const auto block = BytesAt(stream, out.consumed + 4, block_bytes);
    if (!block.ok() || block_bytes > kLz4Block + kLz4Block / 2) {
      return Corrupt("lz4: truncated or corrupt", out.consumed);
    }
    const size_t filled = out.bytes.size();
    const size_t room = std::min<uint64_t>(kLz4Block, limit - filled);
    out.bytes.resize(filled + room);
    const int unpacked = LZ4_decompress_safe(
        reinterpret_cast<const char*>(block->data()), out.bytes.data() + filled,
        static_cast<int>(block_bytes), static_cast<int>(room));
    if (unpacked <= 0) {
      return room < kLz4Block ? TooLarge(limit)
                              : Corrupt("lz4: corrupt", out.consumed);
    }
    out.bytes.resize(filled + static_cast<size_t>(unpacked));
    out.consumed += 4 + uint64_t{block_bytes};
  }
  if (out.consumed < stream.size()) return TooLarge(expected);
  return out;
}

}  // namespace

absl::string_view CompressionOf(absl::Span<const uint8_t> payload) {
  const absl::string_view text = AsText(payload);
  if (absl::StartsWith(text, "\x1f\x8b")) return "gzip";
  if (absl::StartsWith(text, absl::string_view("\xfd"
                                               "7zXZ\0",
                                               6))) {
    return "xz";
  }
  if (absl::StartsWith(text, "\x28\xb5\x2f\xfd")) return "zstd";
  if (absl::StartsWith(text, "\x02\x21\x4c\x18")) return "lz4";
  if (absl::StartsWith(text, absl::string_view("\x5d\0\0", 3))) return "lzma";
  if (absl::StartsWith(text, "BZh")) return "bzip2";
  if (absl::StartsWith(text, "\x89LZO")) return "lzo";
  return "unknown";
}

absl::StatusOr<std::string> Unpack(absl::Span<const uint8_t> payload,
                                   uint64_t limit_bytes) {
  const absl::string_view compression = CompressionOf(payload);
  if (compression != "gzip" && compression != "xz" && compression != "lzma" &&
      compression != "zstd" && compression != "lz4") {
    return absl::UnimplementedError(absl::StrCat(
        "the kernel is compressed with ", compression, ", which is not read"));
  }

  if (payload.size() < 8) return Corrupt("truncated", payload.size());
  // Of gzip the length is a part.
  const absl::Span<const uint8_t> stream =
      compression == "gzip" ? payload : payload.subspan(0, payload.size() - 4);
  const uint32_t expected = NumberAt<uint32_t>(payload, payload.size() - 4);
  if (expected > limit_bytes) return TooLarge(limit_bytes);
  // What the trailer tells is the limit: a bomb ends there.
  LU_ASSIGN_OR_RETURN(Unpacked unpacked,
                      compression == "gzip"   ? Inflate(stream, expected)
                      : compression == "zstd" ? UnZstd(stream, expected)
                      : compression == "lz4" ? UnLz4(stream, expected, expected)
                                             : UnLzma(stream, expected));
  if (unpacked.bytes.size() != expected) {
    return Corrupt(absl::StrCat("unpacks to ", unpacked.bytes.size(),
                                " bytes, not ", expected),
                   unpacked.consumed);
  }
  return std::move(unpacked.bytes);
}

absl::StatusOr<std::string> UnpackGzip(absl::Span<const uint8_t> stream,
                                       uint64_t limit_bytes) {
  LU_ASSIGN_OR_RETURN(Unpacked unpacked, Inflate(stream, limit_bytes));
  return std::move(unpacked.bytes);
}

}  // namespace live_update::loader
