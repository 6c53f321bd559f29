#ifndef TESTING_FAULTS_FAULTY_DEPENDENCIES_H_
#define TESTING_FAULTS_FAULTY_DEPENDENCIES_H_

#include <memory>

#include "host_update/dependencies.h"
#include "testing/faults/fault_injector.h"
#include "testing/faults/faulty_hypervisor.h"
#include "testing/faults/faulty_kexec.h"
#include "testing/faults/faulty_memory.h"

namespace live_update::testing {

// Puts `injector` before all that an update touches.
class FaultySeams {
 public:
  // Both must outlive it, and it `deps`' next use.
  FaultySeams(Dependencies& deps, FaultInjector* injector) {
    if (deps.hypervisor != nullptr) {
      hypervisor_ =
          std::make_unique<FaultyHypervisor>(deps.hypervisor, injector);
      deps.hypervisor = hypervisor_.get();
    }
    if (deps.memory != nullptr) {
      memory_ = std::make_unique<FaultyMemory>(deps.memory, injector);
      deps.memory = memory_.get();
    }
    if (deps.kexec != nullptr) {
      kexec_ = std::make_unique<FaultyKexec>(deps.kexec, injector);
      deps.kexec = kexec_.get();
    }
    deps.entered = [injector, inner = deps.entered](Phase phase) {
      const absl::Status status = injector->MeetPhase(phase);
      return status.ok() ? inner(phase) : status;
    };
  }

  FaultyMemory* memory() { return memory_.get(); }

 private:
  std::unique_ptr<FaultyHypervisor> hypervisor_;
  std::unique_ptr<FaultyMemory> memory_;
  std::unique_ptr<FaultyKexec> kexec_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULTY_DEPENDENCIES_H_
