#include "testing/faults/faulty_memory.h"

#include <utility>

#include "absl/time/time.h"
#include "base/status_macros.h"

namespace live_update::testing {

class FaultyMemory::Outgoing final : public OutgoingPreservation {
 public:
  Outgoing(std::shared_ptr<std::unique_ptr<OutgoingPreservation>> real,
           FaultInjector* injector)
      : real_(std::move(real)), injector_(*injector) {}

  absl::StatusOr<PreservedRam> PreserveRam(absl::string_view vm_uuid,
                                           absl::string_view block,
                                           const UniqueFd& fd) override {
    LU_RETURN_IF_ERROR(injector_.Meet(FaultPoint::kPreserveRam,
                                      injector_.NameOfUuid(vm_uuid),
                                      absl::InfiniteFuture()));
    return (*real_)->PreserveRam(vm_uuid, block, fd);
  }

  absl::StatusOr<absl::Span<uint8_t>> ReserveStateArea(
      uint64_t size_bytes) override {
    LU_RETURN_IF_ERROR(
        injector_.Meet(FaultPoint::kReserve, "", absl::InfiniteFuture()));
    LU_ASSIGN_OR_RETURN(const absl::Span<uint8_t> area,
                        (*real_)->ReserveStateArea(size_bytes));
    injector_.SetImage(area);
    return area;
  }

  absl::Status Flush() override {
    const FaultPoint point = flushed_ ? FaultPoint::kSeal : FaultPoint::kFlush;
    flushed_ = true;
    LU_RETURN_IF_ERROR(injector_.Meet(point, "", absl::InfiniteFuture()));
    return (*real_)->Flush();
  }

  absl::Status Unpreserve() override { return (*real_)->Unpreserve(); }

 private:
  const std::shared_ptr<std::unique_ptr<OutgoingPreservation>> real_;
  FaultInjector& injector_;
  bool flushed_ = false;
};

class FaultyMemory::Incoming final : public IncomingPreservation {
 public:
  Incoming(std::unique_ptr<IncomingPreservation> real, FaultInjector* injector)
      : real_(std::move(real)), injector_(*injector) {}

  const std::string& update_id() const override { return real_->update_id(); }
  absl::Span<const uint8_t> image() const override { return real_->image(); }
  absl::StatusOr<std::vector<std::string>> VmUuids() override {
    return real_->VmUuids();
  }
  absl::StatusOr<UniqueFd> RetrieveRam(absl::string_view vm_uuid,
                                       absl::string_view block,
                                       const PreservedRam& ram) override {
    LU_RETURN_IF_ERROR(Meet(FaultPoint::kRetrieveRam, vm_uuid));
    return real_->RetrieveRam(vm_uuid, block, ram);
  }
  absl::Status MarkResumed(absl::string_view vm_uuid,
                           const std::string& kernel) override {
    LU_RETURN_IF_ERROR(Meet(FaultPoint::kMark, vm_uuid));
    LU_RETURN_IF_ERROR(real_->MarkResumed(vm_uuid, kernel));
    return Meet(FaultPoint::kMarked, vm_uuid);
  }
  absl::Status UnmarkResumed(absl::string_view vm_uuid) override {
    return real_->UnmarkResumed(vm_uuid);
  }
  absl::StatusOr<std::optional<ResumeMark>> FindResumeMark(
      absl::string_view vm_uuid) override {
    return real_->FindResumeMark(vm_uuid);
  }
  absl::Status Release(absl::string_view vm_uuid) override {
    LU_RETURN_IF_ERROR(Meet(FaultPoint::kReleaseVm, vm_uuid));
    return real_->Release(vm_uuid);
  }
  absl::Status Discard(absl::string_view vm_uuid) override {
    return real_->Discard(vm_uuid);
  }
  absl::StatusOr<bool> FinishIfEmpty() override {
    LU_RETURN_IF_ERROR(
        injector_.Meet(FaultPoint::kFinish, "", absl::InfiniteFuture()));
    return real_->FinishIfEmpty();
  }

 private:
  absl::Status Meet(FaultPoint point, absl::string_view uuid) {
    return injector_.Meet(point, injector_.NameOfUuid(uuid),
                          absl::InfiniteFuture());
  }

  const std::unique_ptr<IncomingPreservation> real_;
  FaultInjector& injector_;
};

FaultyMemory::~FaultyMemory() = default;

void FaultyMemory::LetGo() {
  for (const auto& outgoing : begun_) outgoing->reset();
}

absl::StatusOr<std::unique_ptr<OutgoingPreservation>> FaultyMemory::Begin(
    absl::string_view update_id) {
  LU_RETURN_IF_ERROR(
      injector_->Meet(FaultPoint::kBegin, "", absl::InfiniteFuture()));
  LU_ASSIGN_OR_RETURN(auto real, real_->Begin(update_id));
  begun_.push_back(
      std::make_shared<std::unique_ptr<OutgoingPreservation>>(std::move(real)));
  return std::make_unique<Outgoing>(begun_.back(), injector_);
}

absl::Status FaultyMemory::DiscardStaleOutgoing() {
  LU_RETURN_IF_ERROR(
      injector_->Meet(FaultPoint::kNone, "", absl::InfiniteFuture()));
  return real_->DiscardStaleOutgoing();
}

absl::StatusOr<std::unique_ptr<IncomingPreservation>> FaultyMemory::Retrieve() {
  LU_RETURN_IF_ERROR(
      injector_->Meet(FaultPoint::kRetrieve, "", absl::InfiniteFuture()));
  LU_ASSIGN_OR_RETURN(auto real, real_->Retrieve());
  return std::make_unique<Incoming>(std::move(real), injector_);
}

absl::StatusOr<std::unique_ptr<IncomingPreservation>>
FaultyMemory::RetrieveInThisBoot(absl::string_view update_id) {
  LU_ASSIGN_OR_RETURN(auto real, real_->RetrieveInThisBoot(update_id));
  return std::make_unique<Incoming>(std::move(real), injector_);
}

absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
FaultyMemory::Unfinished() {
  LU_ASSIGN_OR_RETURN(auto sets, real_->Unfinished());
  for (auto& set : sets) {
    set = std::make_unique<Incoming>(std::move(set), injector_);
  }
  return sets;
}

}  // namespace live_update::testing
