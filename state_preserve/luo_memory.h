// Preserved memory by the kernel's Live Update Orchestrator: guest RAM is
// memfds whose pages the kernel carries over in place. Needs Linux 7.3 with
// kho=on liveupdate=on in both kernels, and the same version of the interface
// in both. README.md, "The LUO backend", has names, tokens and who holds what.
//
// Unlike the dax backend, nothing here has a name that outlives its holder: in
// the old kernel this process is the holder, up to the kexec; in the new one a
// keeper is (keeper.h), from the first look on.

#ifndef STATE_PRESERVE_LUO_MEMORY_H_
#define STATE_PRESERVE_LUO_MEMORY_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "state_preserve/luo_outgoing.h"
#include "state_preserve/luo_store.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

class LuoMemory final : public PreservedMemory {
 public:
  // Does not open the device. kNotFound: this kernel has none; the message says
  // what it needs.
  static absl::StatusOr<std::unique_ptr<LuoMemory>> Open(
      const LuoMemoryOptions& options);

  absl::string_view backend() const override { return "luo"; }

  // Also kFailedPrecondition: VMs of the last update still wait to be restored.
  // Their memory can't be carried on (the kernel does not), so no update may
  // begin. The sessions are held by this object, too: an update that has jumped
  // must find it alive.
  absl::StatusOr<std::unique_ptr<OutgoingPreservation>> Begin(
      absl::string_view update_id) override;

  // Only what this object began. A process that died took its sessions with it:
  // the kernel ends them with the last descriptor.
  absl::Status DiscardStaleOutgoing() override;

  // The first call of a boot takes the handover from the kernel into the keeper
  // (the only way to learn of it); later ones ask the keeper.
  absl::StatusOr<bool> HasHandover() override;

  absl::StatusOr<std::unique_ptr<IncomingPreservation>> Retrieve() override;

  // The kernel gives a session back after a kexec only, and ends it with the
  // process that made it.
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> RetrieveInThisBoot(
      absl::string_view) override {
    return absl::UnimplementedError(
        "luo keeps memory over a kexec only, not for the end of a process");
  }

  // One at most: sets are not carried to a third kernel.
  absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
  Unfinished() override;

  // Nothing to collect: memory is freed with its last user.
  absl::StatusOr<uint64_t> CollectGarbage() override { return 0; }

  absl::StatusOr<uint64_t> FreeBytes() override {
    return LuoStore::FreeBytes();
  }

 private:
  explicit LuoMemory(std::shared_ptr<const LuoStore> store)
      : store_(std::move(store)) {}
  absl::Status CheckNothingWaits();

  const std::shared_ptr<const LuoStore> store_;
  absl::Mutex mutex_;
  std::shared_ptr<LuoOutgoing> outgoing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_MEMORY_H_
