// Protobuf messages on a stream socket, each preceded by its length in bytes (4
// bytes, little-endian). worker.proto says who sends what.

#ifndef HOST_UPDATE_WORKER_FRAMED_MESSAGE_H_
#define HOST_UPDATE_WORKER_FRAMED_MESSAGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"

namespace live_update {

// Largest request, which a process with all privileges reads, and largest
// reply.
inline constexpr uint32_t kLargestRequest = 64 << 10;  // Bytes.
inline constexpr uint32_t kLargestReply = 64 << 20;

// kResourceExhausted: more than `limit` bytes; nothing was sent.
absl::Status SendMessage(int socket,
                         const google::protobuf::MessageLite& message,
                         uint32_t limit, absl::Time deadline);

// kOutOfRange: the other side closed before a message began.
// kInvalidArgument: it is none, or longer than `limit` bytes.
absl::Status ReceiveMessage(int socket, google::protobuf::MessageLite& message,
                            uint32_t limit, absl::Time deadline);

}  // namespace live_update

#endif  // HOST_UPDATE_WORKER_FRAMED_MESSAGE_H_
