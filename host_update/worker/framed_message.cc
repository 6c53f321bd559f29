#include "host_update/worker/framed_message.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "host_update/qemu/unix_socket.h"

namespace live_update {
namespace {

constexpr size_t kPrefixBytes = 4;
// Memory is taken as data comes, not as a length claims.
constexpr size_t kChunkBytes = 64 << 10;

absl::Status ReceiveExactly(int socket, absl::Span<uint8_t> buffer,
                            absl::Time deadline) {
  size_t have = 0;
  while (have < buffer.size()) {
    LU_ASSIGN_OR_RETURN(
        const Received received,
        ReceiveWithFds(socket, buffer.subspan(have), "a message",
                       /*wake_up=*/nullptr, deadline));
    if (received.bytes == 0) {
      if (have == 0) return absl::OutOfRangeError("the other side has closed");
      return absl::InvalidArgumentError(absl::StrCat(
          "cut off after ", have, " of ", buffer.size(), " bytes"));
    }
    have += received.bytes;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SendMessage(int socket,
                         const google::protobuf::MessageLite& message,
                         uint32_t limit, absl::Time deadline) {
  const size_t size = message.ByteSizeLong();
  if (size > limit) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a message of ", size, " bytes; at most ", limit, " are sent"));
  }
  std::string bytes;
  for (size_t i = 0; i < kPrefixBytes; ++i) {
    bytes.push_back(static_cast<char>(size >> (8 * i)));
  }
  message.AppendToString(&bytes);
  return SendWithFd(socket, bytes, /*fd=*/-1, "a message", /*wake_up=*/nullptr,
                    deadline);
}

absl::Status ReceiveMessage(int socket, google::protobuf::MessageLite& message,
                            uint32_t limit, absl::Time deadline) {
  std::array<uint8_t, kPrefixBytes> prefix;
  LU_RETURN_IF_ERROR(ReceiveExactly(socket, absl::MakeSpan(prefix), deadline));
  uint32_t size = 0;
  for (size_t i = 0; i < kPrefixBytes; ++i) {
    size |= uint32_t{prefix[i]} << (8 * i);
  }
  if (size > limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a message of ", size, " bytes; at most ", limit, " are taken"));
  }
  std::string bytes;
  while (bytes.size() < size) {
    const size_t have = bytes.size();
    bytes.resize(have + std::min(kChunkBytes, size - have));
    absl::Status status = ReceiveExactly(
        socket,
        absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()) + have,
                       bytes.size() - have),
        deadline);
    if (absl::IsOutOfRange(status)) {
      return absl::InvalidArgumentError(
          absl::StrCat("cut off after ", have, " of ", size, " bytes"));
    }
    LU_RETURN_IF_ERROR(status);
  }
  if (!message.ParseFromString(bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, " bytes that are no such message"));
  }
  return absl::OkStatus();
}

}  // namespace live_update
