// The old kernel's side of the dax backend.

#ifndef STATE_PRESERVE_DAX_OUTGOING_H_
#define STATE_PRESERVE_DAX_OUTGOING_H_

#include <cstdint>
#include <memory>
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
#include "state_preserve/dax_store.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

class DaxOutgoing final : public OutgoingPreservation {
 public:
  // Makes outgoing/ with all that it must have, or nothing of it.
  // kFailedPrecondition: there is one. kAlreadyExists: an update of this id is
  // still incoming.
  static absl::StatusOr<std::unique_ptr<DaxOutgoing>> Begin(
      std::shared_ptr<const DaxStore> store, const std::string& update_id);

  absl::StatusOr<PreservedRam> PreserveRam(absl::string_view vm_uuid,
                                           absl::string_view block,
                                           const UniqueFd& fd) override;
  absl::StatusOr<absl::Span<uint8_t>> ReserveStateArea(
      uint64_t size_bytes) override;

  // msync of the image, then syncfs: names and block maps of all preserved
  // files are in the file system's journal after it. Guest RAM itself needs
  // nothing: its pages are the medium. Takes as long as the file system has
  // dirty metadata; on RAM that is milliseconds, but nothing here bounds it.
  absl::Status Flush() override;

  // The state area stays mapped, and its memory is free when this object goes.
  absl::Status Unpreserve() override;

 private:
  DaxOutgoing(std::shared_ptr<const DaxStore> store, UniqueFd set, UniqueFd ram)
      : store_(std::move(store)), set_(std::move(set)), ram_(std::move(ram)) {}
  absl::Status CheckCanKeep(const UniqueFd& fd, RamIdentity* identity) const;

  const std::shared_ptr<const DaxStore> store_;
  const UniqueFd set_;  // outgoing/
  const UniqueFd ram_;  // outgoing/ram/
  absl::Mutex mutex_;
  MappedRegion state_area_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // STATE_PRESERVE_DAX_OUTGOING_H_
