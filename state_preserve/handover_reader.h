// Hostile bytes to typed records.
//
// Damage is kept local: a torn header or host section refuses the image, a torn
// VM section only that VM. Every byte's CRC is checked before it means
// anything.

#ifndef STATE_PRESERVE_HANDOVER_READER_H_
#define STATE_PRESERVE_HANDOVER_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "state_preserve/format.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// One VM in the directory: known even if its section is torn.
struct VmSection {
  std::string name;
  std::string uuid;
  uint64_t offset = 0;
  uint64_t size = 0;
};

// One VM as it was saved.
struct IncomingVm {
  VmRecord record;
  absl::string_view device_state;  // Lies in the image.
  std::vector<AuxiliaryRam> auxiliary;
};

// Reads an image in memory that nobody changes meanwhile. Const calls may come
// from several threads.
class HandoverReader {
 public:
  // Reads header and host section. `image` may be longer than the image that it
  // holds; it is not copied and must outlive the reader and what comes from it.
  // Errors name the offset:
  //   kFailedPrecondition  not committed: its writer did not finish, or revoked
  //   it kInvalidArgument     not a handover image kUnimplemented       of a
  //   version, or with a record, that is not known here kDataLoss such an
  //   image, but truncated, torn or impossible
  static absl::StatusOr<HandoverReader> Open(absl::Span<const uint8_t> image);

  uint32_t version() const { return header_.version; }
  uint64_t total_size() const { return header_.total_size; }
  const HandoverHeader& header() const { return header_; }
  const HostRecord& host() const { return host_; }

  // In the image's order.
  const std::vector<VmSection>& vms() const { return vms_; }

  // Verifies and parses the section of vms()[index]. kDataLoss: torn or
  // impossible; kUnimplemented: has a mandatory record that is not known here.
  // Says nothing of other VMs.
  absl::StatusOr<IncomingVm> ReadVm(size_t index) const;

 private:
  HandoverReader(absl::Span<const uint8_t> image, const HandoverHeader& header)
      : image_(image), header_(header) {}
  absl::Status ReadHostSection();
  absl::Status ReadDirectory(absl::string_view body, uint64_t offset);

  absl::Span<const uint8_t> image_;  // Cut to total_size.
  HandoverHeader header_;
  HostRecord host_;
  std::vector<VmSection> vms_;
};

// Whether `host` was written for the restore that asks:
//   kPermissionDenied    by another host than `machine_id`
//   kFailedPrecondition  in this very boot (`boot_id`): its kexec has not
//   happened kAlreadyExists       it is not newer than `last_counter`, the
//   counter of the
//                        last update that was finished here (0: none): a replay
absl::Status CheckBelongsHere(const HostRecord& host,
                              absl::string_view machine_id,
                              absl::string_view boot_id, uint64_t last_counter);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_READER_H_
