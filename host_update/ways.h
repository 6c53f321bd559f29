// How each VM is carried through an update: what was asked for, set against
// what is possible. Pure: facts and findings in, ways and findings out.

#ifndef HOST_UPDATE_WAYS_H_
#define HOST_UPDATE_WAYS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "host_update/policy.h"
#include "host_update/preflight.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// One VM that is not off.
struct VmWay {
  VmInfo info;
  Policy::Way way =
      Policy::IN_PLACE;              // REFUSE: there is an ERROR that says so.
  std::string why;                   // As UpdatePlan.Vm has it.
  std::vector<std::string> choices;  // The same.
  int restore_priority = 0;
  absl::Duration shutdown_timeout;
  bool leave_guest_clock = false;
  uint64_t ram_bytes = 0;  // 0 if it could not be examined.
};

struct WaysInput {
  const absl::StatusOr<Policy>& policy;  // The file's.
  const WayByVm& asked;                  // --way
  absl::Span<const ExaminedVm> vms;      // All, those that are off as well.
  const HostFacts& host;
  Backend backend = Backend::kDax;
  // Of preserved memory, what VMs in place need: copies get what is left.
  uint64_t state_area_bytes = 0;
};

// What a copy of a VM with so much RAM takes of preserved memory, at most.
uint64_t CopyBytesFor(uint64_t ram_bytes);

// Decides for each VM that is not off, and adds to `report`, which Evaluate
// made of the same VMs: its `vms`, and findings on them. What stands against
// carrying a VM in place is no ERROR any more where it is carried otherwise. A
// VM's own finding, its subject the VM's name, is one of
//
//   WAY           how it is carried if not in place, and why: OK where that was
//                 asked for, a WARNING where it is the fallback, an ERROR where
//                 there is no way, with those that are possible
//   COPY_BACKEND  an ERROR: copies need the backend dax
//   COPY_SPACE    an ERROR: the copies don't fit into preserved memory
//   VM_POLICY     an ERROR: its metadata have a policy that can't be read
//
// and of the host: POLICY, an ERROR, if the file can't be read, or --way names
// a VM that is not there. `go` holds for all findings afterwards.
std::vector<VmWay> DecideWays(const WaysInput& input, CheckReport& report);

}  // namespace live_update

#endif  // HOST_UPDATE_WAYS_H_
