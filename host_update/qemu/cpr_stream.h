// The stream on QEMU's cpr channel: the names and file descriptors of a VM's
// RAM blocks, as migration mode cpr-transfer sends them.
//
// Written by hand after QEMU 10.0.2: cpr_state_save() and vmstate_cpr_fd in
// migration/cpr.c, put_qlist() and put_fd() in migration/vmstate-types.c,
// qemu_file_put_fd() in migration/qemu-file.c. All integers are big-endian.
//
//   u32  magic "QCPR"
//   u32  version 1
//   for each file descriptor:
//     u8   1
//     u32  length of the name with its NUL
//     ...  name, NUL
//     i32  id
//     u8   0x20, alone in a sendmsg(2) that carries the descriptor
//   u8   0
//   end of stream (QEMU shuts its side down), or, from QEMU 10.1 on:
//     u8   5, u8 21, "CprState/vfio devices", u32 1, u8 0
//
// The last is an empty vmstate subsection (hw/vfio/cpr-iommufd.c) that
// QEMU 10.0 refuses and later ones do without; we read it and never write it.
// One that is not empty belongs to a VFIO device, which does not survive a
// kexec: refused.

#ifndef HOST_UPDATE_QEMU_CPR_STREAM_H_
#define HOST_UPDATE_QEMU_CPR_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"
#include "host_update/hypervisor.h"

namespace live_update {

// Far above what QEMU sends: a block's name has at most 255 characters, a VM
// some dozens of blocks.
inline constexpr size_t kMaxCprFds = 4096;
inline constexpr size_t kMaxCprNameBytes = 1024;

// Reads the stream piece by piece and says how large the next piece is, so that
// a reader never takes a byte that belongs to the next descriptor. It never
// blocks and never touches a descriptor but to close it.
//
//   while (not at the end of the stream) {
//     receive at most BytesWanted() bytes; if FdDue(), one descriptor with them
//     Add(...)
//   }
//   Finish()
//
// After an error the object is good for nothing but destruction, which closes
// what it has taken.
class CprStreamParser {
 public:
  // Never zero.
  size_t BytesWanted() const { return wanted_ - pending_.size(); }

  // Whether the next byte is one that carries a descriptor.
  bool FdDue() const { return state_ == State::kFd; }

  // Takes the next 1 to BytesWanted() bytes, and `fd` if and only if FdDue().
  // kInvalidArgument: not such a stream, or a broken one; the message has the
  // offset. kUnimplemented: of another version, or of a VFIO device.
  absl::Status Add(absl::Span<const uint8_t> bytes, UniqueFd fd);

  // At the end of the stream: what it held, in its order. kDataLoss: it ended
  // too early.
  absl::StatusOr<std::vector<CprFd>> Finish() &&;

 private:
  enum class State {
    kHeader,
    kMore,
    kNameLength,
    kNameAndId,
    kFd,
    kEndOrSubsection,
    kSubsection,
    kEnd,
  };

  absl::Status Step(UniqueFd fd);
  absl::Status StartName();
  absl::Status TakeNameAndId();
  void Expect(State state, size_t bytes);

  State state_ = State::kHeader;
  size_t wanted_ = 8;
  uint64_t offset_ = 0;  // Of the byte after the last one taken.
  std::string pending_;
  CprFd current_;
  std::vector<CprFd> fds_;
};

// Bytes that go out in one sendmsg(2), together with `fd` if it is not -1.
struct CprStreamPiece {
  std::string bytes;
  int fd = -1;  // Still owned by the CprFd.
};

// The stream that makes QEMU take `fds`. kInvalidArgument: a name that is
// empty, too long or has a NUL in it, one that comes twice with the same id, an
// unset descriptor, or too many.
absl::StatusOr<std::vector<CprStreamPiece>> SerializeCprStream(
    absl::Span<const CprFd> fds);

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_CPR_STREAM_H_
