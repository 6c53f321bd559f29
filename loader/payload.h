// The compressed kernel inside a bzImage, unpacked.

#ifndef LOADER_PAYLOAD_H_
#define LOADER_PAYLOAD_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace live_update::loader {

// Largest kernel that is unpacked; a distribution's is 30 to 90 MiB.
inline constexpr uint64_t kMaxUnpackedBytes = uint64_t{512} << 20;

// "gzip", "xz", "zstd", "lz4", "lzma", "bzip2", "lzo", or "unknown".
absl::string_view CompressionOf(absl::Span<const uint8_t> payload);

// Unpacks `payload`, known by its first bytes. A payload is one compressed
// stream that ends with the length of what it holds, as a little-endian word
// (of gzip's own, or put after it); they must agree. Never makes more than
// `limit_bytes`, nor more memory than twice that and a fixed sum for the
// decoder. kInvalidArgument: corrupt or truncated, with the offset in the
// payload; kResourceExhausted: beyond the limit; kUnimplemented: bzip2, lzo,
// unknown.
absl::StatusOr<std::string> Unpack(absl::Span<const uint8_t> payload,
                                   uint64_t limit_bytes = kMaxUnpackedBytes);

// Unpacks a gzip stream that may have something after it (IKCONFIG).
absl::StatusOr<std::string> UnpackGzip(absl::Span<const uint8_t> stream,
                                       uint64_t limit_bytes);

}  // namespace live_update::loader

#endif  // LOADER_PAYLOAD_H_
