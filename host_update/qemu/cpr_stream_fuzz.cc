// The cpr stream of a hostile QEMU: what is accepted must be what would be
// sent.

#include <sys/eventfd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "host_update/qemu/cpr_stream.h"

namespace live_update {
namespace {

absl::StatusOr<std::vector<CprFd>> Parse(absl::Span<const uint8_t> stream) {
  CprStreamParser parser;
  while (!stream.empty()) {
    const absl::Span<const uint8_t> piece =
        stream.subspan(0, parser.BytesWanted());
    const absl::Status status = parser.Add(
        piece, parser.FdDue() ? UniqueFd(eventfd(0, EFD_CLOEXEC)) : UniqueFd());
    if (!status.ok()) return status;
    stream.remove_prefix(piece.size());
  }
  return std::move(parser).Finish();
}

void Check(absl::Span<const uint8_t> stream) {
  const absl::StatusOr<std::vector<CprFd>> fds = Parse(stream);
  if (!fds.ok()) return;
  const absl::StatusOr<std::vector<CprStreamPiece>> pieces =
      SerializeCprStream(*fds);
  if (!pieces.ok()) std::abort();
  std::string bytes;
  for (const CprStreamPiece& piece : *pieces) bytes += piece.bytes;
  // Only the subsection of QEMU 10.1 is not written again.
  if (bytes.size() > stream.size() ||
      !std::equal(
          bytes.begin(), bytes.end(), stream.begin(),
          [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; })) {
    std::abort();
  }
}

}  // namespace
}  // namespace live_update

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  live_update::Check(absl::MakeConstSpan(data, size));
  return 0;
}
