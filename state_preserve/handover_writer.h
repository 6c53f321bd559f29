// Typed records to the bytes of a handover image, in preserved memory itself.
//
//   Create    while VMs run: takes the reserved area
//   AddVm     for each VM as soon as it is saved, from any thread
//   Finish    all VMs are in: the host section, the header but for the magic
//   Commit    the magic: from now on the image is valid
//   Revoke    the kexec did not happen: it is not valid any more
//
// The caller makes what is written stand up to the kexec
// (OutgoingPreservation::Flush), between Finish and Commit and after Commit.

#ifndef STATE_PRESERVE_HANDOVER_WRITER_H_
#define STATE_PRESERVE_HANDOVER_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "state_preserve/format.h"
#include "state_preserve/handover.pb.h"
#include "state_preserve/handover_key.h"

namespace live_update {

// Whether this program can write a handover of `version`, authenticated or not.
// kInvalidArgument: it can't, and which it can.
absl::Status CheckWritable(uint32_t version, bool authenticated);

class HandoverWriter {
 public:
  // Writes into `area`, which stays the caller's and must outlive the writer;
  // it starts at a multiple of 8 and need not be zero. An image that was in it
  // is revoked at once. `version` is the format that the next kernel's restorer
  // reads. With a `key`, which is the caller's and must outlive the writer, the
  // image is authenticated. kInvalidArgument: as CheckWritable(); or the area
  // is misaligned. kResourceExhausted: not even a header fits.
  static absl::StatusOr<std::unique_ptr<HandoverWriter>> Create(
      absl::Span<uint8_t> area, uint32_t version = kHandoverVersion,
      const HandoverKey* key = nullptr);

  HandoverWriter(const HandoverWriter&) = delete;
  HandoverWriter& operator=(const HandoverWriter&) = delete;

  // Adds one VM: `auxiliary` holds the contents of its blocks that are not in
  // place (auxiliary_ram.h), `ram_digests` what those in place held, or is null
  // (ram_digest.h). Copies all of it. Threads may add different VMs at
  // the same time. After an error nothing of this VM is in the image and others
  // can still be added. kInvalidArgument: the reader would refuse it
  // (handover_rules.h); kAlreadyExists: a VM of this UUID is in;
  // kResourceExhausted: no room, with needed and free bytes.
  absl::Status AddVm(const VmRecord& vm, absl::string_view device_state,
                     absl::Span<const AuxiliaryRam> auxiliary,
                     const RamDigests* ram_digests = nullptr);

  // Completes the image except for its magic; returns its size in bytes. No
  // AddVm may be under way, nor follow. After an error it can be called again.
  // kInvalidArgument, kResourceExhausted as above.
  absl::StatusOr<uint64_t> Finish(const HostRecord& host);

  // Writes the magic, after all else that this thread wrote or saw written.
  // kFailedPrecondition before Finish().
  absl::Status Commit();

  // Erases the magic. Idempotent. Commit() may follow.
  void Revoke();

 private:
  HandoverWriter(absl::Span<uint8_t> area, uint32_t version,
                 const HandoverKey* key)
      : area_(area), version_(version), key_(key) {}

  // Takes `size` bytes off the area for `entry` and begins a write. Returns the
  // entry's index in the directory.
  absl::StatusOr<size_t> Reserve(DirectoryEntry entry, uint64_t size,
                                 uint64_t* offset) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the write of a section and takes note of its digest.
  absl::Status EndWrite(size_t index, absl::Span<const uint8_t> section)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The bytes of the host section; completes the header that goes with it.
  absl::StatusOr<std::string> HostSection(const std::string& host_record,
                                          HandoverHeader* header) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(uint64_t size) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StoreMagic(uint64_t magic);

  const absl::Span<uint8_t> area_;
  const uint32_t version_;
  const HandoverKey* const key_;  // Null: not authenticated.

  absl::Mutex mutex_;
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = sizeof(HandoverHeader);
  int writes_under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<DirectoryEntry> directory_ ABSL_GUARDED_BY(mutex_);
  // Of the directory's sections, with a key.
  std::vector<SectionDigest> digests_ ABSL_GUARDED_BY(mutex_);
};

// How large a VM's parts may get, for StateAreaBytes().
struct VmStateEstimate {
  uint64_t domain_xml_bytes = 64 << 10;
  uint64_t auxiliary_ram_bytes = 0;  // All its auxiliary blocks, as if full.
  uint64_t device_state_bytes = 2 << 20;
  uint64_t ram_digests_bytes = 1 << 20;
};

// Bytes to reserve so that an image of VMs not larger than that surely fits.
uint64_t StateAreaBytes(absl::Span<const VmStateEstimate> vms);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_WRITER_H_
