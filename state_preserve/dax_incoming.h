// The new kernel's side of the dax backend.

#ifndef STATE_PRESERVE_DAX_INCOMING_H_
#define STATE_PRESERVE_DAX_INCOMING_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mapped_region.h"
#include "base/unique_fd.h"
#include "state_preserve/dax_store.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

class DaxIncoming final : public IncomingPreservation {
 public:
  // Opens incoming/<update_id>. Null if it is finished but for its last remains
  // (FinishIfEmpty() was cut off); they are removed.
  static absl::StatusOr<std::unique_ptr<DaxIncoming>> Open(
      std::shared_ptr<const DaxStore> store, const std::string& update_id);

  const std::string& update_id() const override { return update_id_; }
  absl::Span<const uint8_t> image() const override { return image_.bytes(); }
  absl::StatusOr<std::vector<std::string>> VmUuids() override;
  absl::StatusOr<UniqueFd> RetrieveRam(absl::string_view vm_uuid,
                                       absl::string_view block,
                                       const PreservedRam& ram) override;

  // resumed/<uuid>, which holds the boot's id and the kernel's release, and is
  // on the medium when this returns. That it is there is the mark.
  absl::Status MarkResumed(absl::string_view vm_uuid,
                           const std::string& kernel) override;
  absl::Status UnmarkResumed(absl::string_view vm_uuid) override;
  absl::StatusOr<std::optional<ResumeMark>> FindResumeMark(
      absl::string_view vm_uuid) override;

  // Moves ram/<uuid> to running/<uuid> by one rename. What was there, names of
  // the same memory from an update before, goes first.
  absl::Status Release(absl::string_view vm_uuid) override;

  absl::Status Discard(absl::string_view vm_uuid) override;
  absl::StatusOr<bool> FinishIfEmpty() override;

  // When the update was begun, by the old kernel's clock.
  absl::Time begun_at() const { return begun_at_; }

 private:
  DaxIncoming(std::shared_ptr<const DaxStore> store, std::string update_id)
      : store_(std::move(store)), update_id_(std::move(update_id)) {}

  const std::shared_ptr<const DaxStore> store_;
  const std::string update_id_;
  UniqueFd incoming_;  // incoming/
  UniqueFd running_;   // running/
  UniqueFd ram_;       // incoming/<update_id>/ram/
  MappedRegion image_;
  absl::Time begun_at_ = absl::InfinitePast();
};

}  // namespace live_update

#endif  // STATE_PRESERVE_DAX_INCOMING_H_
