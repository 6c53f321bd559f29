// The new kernel's side of the luo backend.

#ifndef STATE_PRESERVE_LUO_INCOMING_H_
#define STATE_PRESERVE_LUO_INCOMING_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/mapped_region.h"
#include "base/unique_fd.h"
#include "state_preserve/luo_index.pb.h"
#include "state_preserve/luo_store.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

class LuoIncoming final : public IncomingPreservation {
 public:
  // From the handover session, which stays with the keeper. kDataLoss: the
  // index is lost or damaged; the VMs' memory stays reserved then, as their
  // sessions were not retrieved. An image that can't be had is no error: it is
  // empty, and the VMs can be given up by name.
  static absl::StatusOr<std::unique_ptr<LuoIncoming>> Open(
      std::shared_ptr<const LuoStore> store, LuoSession& handover);

  const LuoIndex& index() const { return index_; }

  const std::string& update_id() const override { return index_.update_id(); }
  absl::Span<const uint8_t> image() const override { return image_.bytes(); }
  absl::StatusOr<std::vector<std::string>> VmUuids() override;

  // Compares size and token, with the index too. Not the inode: a retrieved
  // memfd is a new one. Each call returns another descriptor of the same file,
  // so within this kernel its inode is its identity.
  absl::StatusOr<UniqueFd> RetrieveRam(absl::string_view vm_uuid,
                                       absl::string_view block,
                                       const PreservedRam& ram) override;

  // A file in run_dir, which no crash of this kernel outlives: nor does what
  // was preserved.
  absl::Status MarkResumed(absl::string_view vm_uuid,
                           const std::string& kernel) override;
  absl::Status UnmarkResumed(absl::string_view vm_uuid) override;
  absl::StatusOr<std::optional<ResumeMark>> FindResumeMark(
      absl::string_view vm_uuid) override;

  // Finishes the VM's session: its RAM is its QEMU's alone from now on.
  // WARNING: what no process holds is freed.
  absl::Status Release(absl::string_view vm_uuid) override;

  // The same; nobody holds the RAM, so it is freed.
  absl::Status Discard(absl::string_view vm_uuid) override;

  absl::StatusOr<bool> FinishIfEmpty() override;

 private:
  LuoIncoming(std::shared_ptr<const LuoStore> store, LuoIndex index)
      : store_(std::move(store)), index_(std::move(index)) {}

  const std::shared_ptr<const LuoStore> store_;
  const LuoIndex index_;
  MappedRegion image_;
};

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_INCOMING_H_
