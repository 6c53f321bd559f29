// A small handover with a bit of everything in it, for tests, the golden file
// and the fuzzer's corpus.

#ifndef STATE_PRESERVE_EXAMPLE_HANDOVER_H_
#define STATE_PRESERVE_EXAMPLE_HANDOVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

struct ExampleVm {
  VmRecord record;
  std::string device_state;
  std::vector<AuxiliaryRam> auxiliary;
};

// Two VMs: "web-1" with RAM in place, firmware and video RAM as auxiliary
// blocks; "db-1", paused, with RAM in place only. The numbers are never
// changed: testdata/v1.handover is made of them.
HostRecord ExampleHost();
std::vector<ExampleVm> ExampleVms();

// A committed image, exactly as long as it says.
absl::StatusOr<std::vector<uint8_t>> WriteHandover(
    const HostRecord& host, absl::Span<const ExampleVm> vms);

}  // namespace live_update

#endif  // STATE_PRESERVE_EXAMPLE_HANDOVER_H_
