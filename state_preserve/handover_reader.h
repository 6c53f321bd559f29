// Hostile bytes to typed records.
//
// Damage is kept local: a torn header or host section refuses the image, a torn
// VM section only that VM. Every byte's CRC is checked before it means
// anything.

#ifndef STATE_PRESERVE_HANDOVER_READER_H_
#define STATE_PRESERVE_HANDOVER_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "state_preserve/format.h"
#include "state_preserve/handover.pb.h"
#include "state_preserve/handover_authentication.h"
#include "state_preserve/handover_key.h"

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
  std::optional<RamDigests> ram_digests;
};

// What is known of who wrote an image.
enum class Authenticity {
  kUnauthenticated,  // It bears no MAC.
  kNotChecked,       // It bears one, and no key was given.
  kVerified,         // Who wrote it had the key.
};

// Reads an image in memory that nobody changes meanwhile. Const calls may come
// from several threads.
class HandoverReader {
 public:
  // Reads header and host section. `image` may be longer than the image that it
  // holds; it is not copied and must outlive the reader and what comes from it.
  // With a `key`, used in this call only, none but an image that was written
  // with it is accepted; without one, none that was written with any. Errors
  // name the offset:
  //   kFailedPrecondition  not committed: its writer did not finish, or
  //                        revoked it
  //   kInvalidArgument     not a handover image
  //   kUnimplemented       of a version, or with a record, not known here
  //   kDataLoss            such an image, but truncated, torn or impossible
  //   kUnauthenticated     no MAC, a wrong one, or no key to check it with
  static absl::StatusOr<HandoverReader> Open(absl::Span<const uint8_t> image,
                                             const HandoverKey* key = nullptr);

  // The same for an image from anybody, authenticated or not: to look at it.
  // Nothing may be started from what this reads.
  static absl::StatusOr<HandoverReader> OpenUnverified(
      absl::Span<const uint8_t> image);

  uint32_t version() const { return header_.version; }
  uint64_t total_size() const { return header_.total_size; }
  const HandoverHeader& header() const { return header_; }
  const HostRecord& host() const { return host_; }
  Authenticity authenticity() const { return authenticity_; }
  // Of the key that the image was written with; meaningful unless it is
  // kUnauthenticated.
  const KeyId& key_id() const { return authentication_.key_id; }

  // In the image's order.
  const std::vector<VmSection>& vms() const { return vms_; }

  // Verifies and parses the section of vms()[index]. kUnauthenticated: it is
  // not what the image's MAC covers; kDataLoss: torn or impossible;
  // kUnimplemented: has a mandatory record that is not known here. Says nothing
  // of other VMs.
  absl::StatusOr<IncomingVm> ReadVm(size_t index) const;

 private:
  HandoverReader(absl::Span<const uint8_t> image, const HandoverHeader& header)
      : image_(image), header_(header) {}
  static absl::StatusOr<HandoverReader> Open(absl::Span<const uint8_t> image,
                                             const HandoverKey* key,
                                             bool from_anybody);
  absl::Status ReadHostSection(const HandoverKey* key, bool from_anybody);
  // Of an image with a MAC, whose record is at `record_offset`, or of one
  // without.
  absl::Status CheckMac(const HandoverKey* key, uint64_t record_offset);
  absl::Status ReadDirectory(absl::string_view body, uint64_t offset);

  absl::Span<const uint8_t> image_;  // Cut to total_size.
  HandoverHeader header_;
  HostRecord host_;
  Authenticity authenticity_ = Authenticity::kUnauthenticated;
  Authentication authentication_;
  std::vector<VmSection> vms_;
};

// Whether `host` was written for the restore that asks:
//   kPermissionDenied    by another host than `machine_id`
//   kFailedPrecondition  in this very boot (`boot_id`): its kexec has not
//                        happened, and it is none of a restart of QEMU
//   kAlreadyExists       it is not newer than `last_counter`, the counter of
//                        the last update that was finished here (0: none): a
//                        replay
absl::Status CheckBelongsHere(const HostRecord& host,
                              absl::string_view machine_id,
                              absl::string_view boot_id, uint64_t last_counter);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_READER_H_
