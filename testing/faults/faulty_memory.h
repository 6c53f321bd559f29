#ifndef TESTING_FAULTS_FAULTY_MEMORY_H_
#define TESTING_FAULTS_FAULTY_MEMORY_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "state_preserve/preserved_memory.h"
#include "testing/faults/fault_injector.h"

namespace live_update::testing {

// Preserved memory in front of another one, with faults at "begin", "reserve",
// "preserve@VM", "flush" and "seal" (the flushes before and after the magic is
// written), "find", "retrieve@VM", "release@VM" and "finish".
class FaultyMemory final : public PreservedMemory {
 public:
  // Both must outlive it and what it makes.
  FaultyMemory(PreservedMemory* real, FaultInjector* injector)
      : real_(real), injector_(injector) {}
  ~FaultyMemory() override;

  // As the end of a process would: lets go of what was begun, without a word.
  void LetGo();

  absl::string_view backend() const override { return real_->backend(); }
  absl::StatusOr<std::unique_ptr<OutgoingPreservation>> Begin(
      absl::string_view update_id) override;
  absl::Status DiscardStaleOutgoing() override;
  absl::StatusOr<bool> HasHandover() override { return real_->HasHandover(); }
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> Retrieve() override;
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> RetrieveInThisBoot(
      absl::string_view update_id) override;
  absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
  Unfinished() override;
  absl::StatusOr<uint64_t> CollectGarbage() override {
    return real_->CollectGarbage();
  }
  absl::StatusOr<std::string> CopyPath(absl::string_view vm_uuid) override {
    return real_->CopyPath(vm_uuid);
  }
  absl::StatusOr<std::vector<std::string>> Copies() override {
    return real_->Copies();
  }
  absl::Status RemoveCopy(absl::string_view vm_uuid) override {
    return real_->RemoveCopy(vm_uuid);
  }
  absl::StatusOr<uint64_t> FreeBytes() override { return real_->FreeBytes(); }

 private:
  class Outgoing;
  class Incoming;

  PreservedMemory* const real_;
  FaultInjector* const injector_;
  // What Begin made; shared, so that LetGo can end it under who holds it.
  std::vector<std::shared_ptr<std::unique_ptr<OutgoingPreservation>>> begun_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULTY_MEMORY_H_
