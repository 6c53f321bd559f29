// Memory that outlives this kernel: the seam between the update's flow and the
// mechanism that keeps bytes in place over a kexec.
//
// One side of the jump each:
//
//   old kernel   PreservedMemory::Begin    -> OutgoingPreservation
//                  PreserveRam (VMs run), ReserveStateArea (VMs run),
//                  Flush (VMs paused, image complete) | Unpreserve
//   new kernel   PreservedMemory::Retrieve -> IncomingPreservation
//                  image, RetrieveRam, MarkResumed (VM is let run),
//                  Release (VM runs again) | Discard
//
// Words are those of the kernel's Live Update Orchestrator
// (Documentation/userspace-api/liveupdate.rst): preserve, unpreserve, retrieve,
// finish. Backends: dax_memory.h, which also works on any directory (tests;
// updates of QEMU alone); luo_memory.h.
//
// Objects made by a PreservedMemory may be used after it is gone. Calls for
// different VMs may come from several threads at once.

#ifndef STATE_PRESERVE_PRESERVED_MEMORY_H_
#define STATE_PRESERVE_PRESERVED_MEMORY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"
#include "state_preserve/ram_identity.h"

namespace live_update {

// A preserved RAM block as the handover image names it.
struct PreservedRam {
  std::string token;  // The backend's own name for it; unique in one update.
  RamIdentity identity;
};

// What one update preserves, in the old kernel. Destroying it without
// Unpreserve() leaves everything in place (the process may be about to jump, or
// was killed: then DiscardStaleOutgoing undoes it) as long as the
// PreservedMemory that made it lives.
class OutgoingPreservation {
 public:
  virtual ~OutgoingPreservation() = default;

  // Puts one RAM block under protection; the guest may go on writing to it.
  // `fd` stays the caller's. kFailedPrecondition: not memory that this backend
  // can keep (the message says why); kAlreadyExists: same block twice.
  virtual absl::StatusOr<PreservedRam> PreserveRam(absl::string_view vm_uuid,
                                                   absl::string_view block,
                                                   const UniqueFd& fd) = 0;

  // Reserves `size_bytes` of preserved memory for the handover image, really
  // allocated, zeroed, mapped; lives as long as this object. Once per update.
  // kResourceExhausted: no room (message: needed and free bytes).
  virtual absl::StatusOr<absl::Span<uint8_t>> ReserveStateArea(
      uint64_t size_bytes) = 0;

  // Makes everything written so far stand up to the kexec (flushes metadata).
  // Call with all VMs paused, once before and once after the image's magic is
  // written.
  virtual absl::Status Flush() = 0;

  // Gives all protection up and removes what was reserved. VMs' RAM itself is
  // untouched. Idempotent.
  virtual absl::Status Unpreserve() = 0;
};

// That a VM was let run on from preserved memory, after which nothing may be
// started from the state that was saved with it.
struct ResumeMark {
  std::string kernel;        // In which: uname -r.
  bool in_this_boot = true;  // False: a kernel that has gone down since.
};

// What one update left, in the new kernel.
class IncomingPreservation {
 public:
  virtual ~IncomingPreservation() = default;

  // The name of this set: the update id under which it was begun.
  virtual const std::string& update_id() const = 0;

  // The handover image, as it lies in preserved memory. Hostile bytes; mapped
  // as long as this object lives, but overwritten by a FinishIfEmpty() that
  // removes the set. Empty if the update was cut off before there was one.
  virtual absl::Span<const uint8_t> image() const = 0;

  // The VMs whose RAM this set still protects, sorted, whatever the image says
  // of them: what is left to Release or Discard.
  virtual absl::StatusOr<std::vector<std::string>> VmUuids() = 0;

  // Opens a preserved RAM block for reading and writing. kDataLoss: it is lost
  // for good, gone or not the memory that `ram.identity` names; nothing may be
  // started from it, and no later call will do better, so that Discard() is all
  // that is left. Any other error: it is kept, and a later call may succeed.
  virtual absl::StatusOr<UniqueFd> RetrieveRam(absl::string_view vm_uuid,
                                               absl::string_view block,
                                               const PreservedRam& ram) = 0;

  // To be called before the VM is let run: from here on its saved state is
  // stale, should it not run any more. Stands up to a crash of this kernel, if
  // its memory does. Calling it again changes nothing. Stays after Release().
  virtual absl::Status MarkResumed(absl::string_view vm_uuid,
                                   const std::string& kernel) = 0;

  // Takes the mark back: the VM was not let run after all. OK if there is none.
  virtual absl::Status UnmarkResumed(absl::string_view vm_uuid) = 0;

  // The VM's mark; none if it has none. An error: not known, so nothing may be
  // started.
  virtual absl::StatusOr<std::optional<ResumeMark>> FindResumeMark(
      absl::string_view vm_uuid) = 0;

  // The VM runs again: its RAM is the VM's own from now on and goes when the VM
  // does (CollectGarbage). Nothing of this VM is left in the incoming set.
  // OK if there is nothing of it.
  virtual absl::Status Release(absl::string_view vm_uuid) = 0;

  // Gives up a VM that will not be restored: its memory is freed.
  virtual absl::Status Discard(absl::string_view vm_uuid) = 0;

  // Removes the set itself if no VM is left in it; else does nothing.
  // Returns whether it is gone.
  virtual absl::StatusOr<bool> FinishIfEmpty() = 0;
};

class PreservedMemory {
 public:
  virtual ~PreservedMemory() = default;

  // "dax", "directory", "luo".
  virtual absl::string_view backend() const = 0;

  // Starts an outgoing set. kFailedPrecondition: one exists already (an update
  // that was cut off: DiscardStaleOutgoing first).
  virtual absl::StatusOr<std::unique_ptr<OutgoingPreservation>> Begin(
      absl::string_view update_id) = 0;

  // Removes the outgoing set that a cut-off update of *this boot* left. OK if
  // there is none. Never touches a set of another boot, nor incoming ones.
  virtual absl::Status DiscardStaleOutgoing() = 0;

  // Whether the last kernel left a set that nobody has retrieved yet. Cheap;
  // does not read the image.
  virtual absl::StatusOr<bool> HasHandover() = 0;

  // Takes over the set that the last kernel left: from now on it is incoming
  // and stays so, over reboots of this program, until FinishIfEmpty. kNotFound:
  // there is none.
  virtual absl::StatusOr<std::unique_ptr<IncomingPreservation>> Retrieve() = 0;

  // The same for the outgoing set `update_id` of this very boot, where only
  // processes are replaced: no kexec lies between. Its OutgoingPreservation is
  // of no more use. kNotFound: there is no such set. kUnimplemented: this
  // backend keeps memory over a kexec only; nothing was changed.
  virtual absl::StatusOr<std::unique_ptr<IncomingPreservation>>
  RetrieveInThisBoot(absl::string_view update_id) = 0;

  // All incoming sets that are not finished, newest first (after Retrieve()).
  // One may have no VM left, if a restorer was cut off before FinishIfEmpty().
  virtual absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
  Unfinished() = 0;

  // Frees the RAM of VMs that were released and have stopped since. Leaves
  // alone whatever is open in any process. Returns bytes freed.
  virtual absl::StatusOr<uint64_t> CollectGarbage() = 0;

  // Copies of whole VMs: files that the hypervisor writes and reads, kept over
  // the kexec like everything else, but in no set. An update that is taken back
  // leaves them: until its VM runs again, a copy is all that there is of it.
  //
  // Where the copy of a VM belongs; whether there is one is not looked at.
  // kUnimplemented: this backend keeps none.
  virtual absl::StatusOr<std::string> CopyPath(absl::string_view vm_uuid) {
    return absl::UnimplementedError(absl::StrCat(
        "the backend ", backend(), " keeps no copy of VM ", vm_uuid));
  }
  // UUIDs of the VMs of which there is one, sorted.
  virtual absl::StatusOr<std::vector<std::string>> Copies() {
    return std::vector<std::string>();
  }
  // OK if there is none.
  virtual absl::Status RemoveCopy(absl::string_view /*vm_uuid*/) {
    return absl::OkStatus();
  }

  // Bytes that ReserveStateArea could get now.
  virtual absl::StatusOr<uint64_t> FreeBytes() = 0;
};

}  // namespace live_update

#endif  // STATE_PRESERVE_PRESERVED_MEMORY_H_
