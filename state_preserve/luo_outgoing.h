// The old kernel's side of the luo backend.

#ifndef STATE_PRESERVE_LUO_OUTGOING_H_
#define STATE_PRESERVE_LUO_OUTGOING_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "base/mapped_region.h"
#include "base/unique_fd.h"
#include "state_preserve/luo_device.h"
#include "state_preserve/luo_index.pb.h"
#include "state_preserve/luo_store.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

// Owns the sessions, which the kernel carries over if they are open at the
// kexec. Its destructor closes them, and so ends all protection: whoever is
// about to jump keeps it (LuoMemory does, whatever becomes of what Begin()
// gave out).
class LuoOutgoing final : public OutgoingPreservation {
 public:
  // Makes the handover session with an index that lists no VM.
  // kAlreadyExists: an update is under way in another process.
  static absl::StatusOr<std::shared_ptr<LuoOutgoing>> Begin(
      std::shared_ptr<const LuoStore> store, absl::string_view update_id);

  // Makes the VM's session with its first block. Takes the time that it takes
  // to make the guest's memory resident; the guest runs meanwhile, but from now
  // on can't give memory back (fallocate on it fails with EPERM: balloon, free
  // page reporting).
  absl::StatusOr<PreservedRam> PreserveRam(absl::string_view vm_uuid,
                                           absl::string_view block,
                                           const UniqueFd& fd) override;

  // A memfd whose size is sealed.
  absl::StatusOr<absl::Span<uint8_t>> ReserveStateArea(
      uint64_t size_bytes) override;

  // Nothing to write out: the area is the memory that is carried. Checks that
  // the index is whole.
  absl::Status Flush() override;

  // Closes all sessions, that of the handover first: what is no handover can't
  // be restored from. Also after a reboot(2) that came back. The state area
  // stays mapped until this object goes.
  absl::Status Unpreserve() override;

  // Until Unpreserve().
  bool is_held();

 private:
  explicit LuoOutgoing(std::shared_ptr<const LuoStore> store)
      : store_(std::move(store)) {}

  absl::StatusOr<std::shared_ptr<LuoSession>> SessionFor(
      const std::string& vm_uuid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const LuoStore> store_;
  absl::Mutex mutex_;
  std::shared_ptr<LuoSession> handover_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<LuoSession>> vms_
      ABSL_GUARDED_BY(mutex_);
  MappedRegion index_area_ ABSL_GUARDED_BY(mutex_);
  MappedRegion state_area_ ABSL_GUARDED_BY(mutex_);
  LuoIndex index_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_token_ ABSL_GUARDED_BY(mutex_);
  // Device and inode of every preserved file; VM and name of every block.
  std::set<std::pair<uint64_t, uint64_t>> inodes_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<std::string, std::string>> blocks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_OUTGOING_H_
