#include "state_preserve/luo_memory.h"

#include <string>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "state_preserve/luo_incoming.h"
#include "state_preserve/luo_index.h"

namespace live_update {
namespace {

// What Begin() gives out. The sessions are shared with the LuoMemory, so that
// they stay open when this goes.
class SharedOutgoing final : public OutgoingPreservation {
 public:
  explicit SharedOutgoing(std::shared_ptr<LuoOutgoing> outgoing)
      : outgoing_(std::move(outgoing)) {}
  absl::StatusOr<PreservedRam> PreserveRam(absl::string_view vm_uuid,
                                           absl::string_view block,
                                           const UniqueFd& fd) override {
    return outgoing_->PreserveRam(vm_uuid, block, fd);
  }
  absl::StatusOr<absl::Span<uint8_t>> ReserveStateArea(
      uint64_t size_bytes) override {
    return outgoing_->ReserveStateArea(size_bytes);
  }
  absl::Status Flush() override { return outgoing_->Flush(); }
  absl::Status Unpreserve() override { return outgoing_->Unpreserve(); }

 private:
  const std::shared_ptr<LuoOutgoing> outgoing_;
};

// Takes all VMs' sessions out of the kernel. One that can't be had must not
// keep the others from being restored.
void CollectAll(const LuoIndex& index, const LuoStore& store,
                LuoDevice& device) {
  for (const LuoIndex::Vm& vm : index.vms()) {
    const absl::Status status = store.Collect(vm.session(), device);
    if (!status.ok()) {
      LogError(absl::StrCat(
          "memory of VM ", vm.uuid(),
          absl::IsNotFound(status) ? " is lost: " : " waits in the kernel: ",
          status.message()));
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<LuoMemory>> LuoMemory::Open(
    const LuoMemoryOptions& options) {
  LU_ASSIGN_OR_RETURN(auto store, LuoStore::Open(options));
  // Using new to access a non-public constructor.
  return absl::WrapUnique(new LuoMemory(std::move(store)));
}

absl::Status LuoMemory::CheckNothingWaits() {
  LU_ASSIGN_OR_RETURN(const bool has_handover, HasHandover());
  if (has_handover) {
    return absl::FailedPreconditionError(
        "the last kernel's handover has not been retrieved yet: `host-update "
        "restore` first");
  }
  LU_ASSIGN_OR_RETURN(const auto sets, Unfinished());
  for (const auto& set : sets) {
    LU_ASSIGN_OR_RETURN(const bool finished, set->FinishIfEmpty());
    if (finished) continue;
    LU_ASSIGN_OR_RETURN(const auto uuids, set->VmUuids());
    return absl::FailedPreconditionError(absl::StrCat(
        "VMs of update ", set->update_id(), " wait to be restored (",
        absl::StrJoin(uuids, ", "),
        "), and their memory can't be carried over another kexec: `host-update "
        "restore --retry VM` or `--discard VM` first"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<OutgoingPreservation>> LuoMemory::Begin(
    absl::string_view update_id) {
  absl::MutexLock lock(&mutex_);
  if (outgoing_ != nullptr && outgoing_->is_held()) {
    return absl::FailedPreconditionError(
        "an update of this process was cut off and left its outgoing set");
  }
  LU_RETURN_IF_ERROR(CheckNothingWaits());
  LU_ASSIGN_OR_RETURN(outgoing_, LuoOutgoing::Begin(store_, update_id));
  return std::make_unique<SharedOutgoing>(outgoing_);
}

absl::Status LuoMemory::DiscardStaleOutgoing() {
  absl::MutexLock lock(&mutex_);
  if (outgoing_ == nullptr) return absl::OkStatus();
  LU_RETURN_IF_ERROR(outgoing_->Unpreserve());
  outgoing_ = nullptr;
  return absl::OkStatus();
}

absl::StatusOr<bool> LuoMemory::HasHandover() {
  LU_ASSIGN_OR_RETURN(const UniqueFd lock, store_->Lock());
  LU_ASSIGN_OR_RETURN(const LuoStore::Handover handover,
                      store_->FindHandover());
  return handover == LuoStore::Handover::kNew;
}

absl::StatusOr<std::unique_ptr<IncomingPreservation>> LuoMemory::Retrieve() {
  LU_ASSIGN_OR_RETURN(const UniqueFd lock, store_->Lock());
  LU_ASSIGN_OR_RETURN(const LuoStore::Handover handover,
                      store_->FindHandover());
  if (handover != LuoStore::Handover::kNew) {
    return absl::NotFoundError(
        "the last kernel left no handover, or it was retrieved before");
  }
  const std::string fresh = LuoNewName(kLuoHandoverSession);
  LU_ASSIGN_OR_RETURN(const auto session, store_->Kept(fresh));
  LU_ASSIGN_OR_RETURN(std::unique_ptr<LuoIncoming> incoming,
                      LuoIncoming::Open(store_, *session));
  {
    LU_ASSIGN_OR_RETURN(const auto device, store_->OpenDevice());
    CollectAll(incoming->index(), *store_, *device);
  }
  LU_RETURN_IF_ERROR(store_->keeper().Put(kLuoHandoverSession, session->fd()));
  LU_RETURN_IF_ERROR(store_->keeper().Drop(fresh));
  return incoming;
}

absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
LuoMemory::Unfinished() {
  std::vector<std::unique_ptr<IncomingPreservation>> sets;
  const auto session = store_->Kept(kLuoHandoverSession);
  if (absl::IsNotFound(session.status())) return sets;
  if (!session.ok()) return session.status();
  LU_ASSIGN_OR_RETURN(std::unique_ptr<LuoIncoming> incoming,
                      LuoIncoming::Open(store_, **session));
  sets.push_back(std::move(incoming));
  return sets;
}

}  // namespace live_update
