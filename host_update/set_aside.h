// VMs that are not carried in place: saved or shut down in the old kernel
// before the others are paused, started in the new one once those run.

#ifndef HOST_UPDATE_SET_ASIDE_H_
#define HOST_UPDATE_SET_ASIDE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/journal.pb.h"
#include "host_update/report/report.pb.h"
#include "host_update/spans.h"
#include "host_update/ways.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// Saves or shuts down each VM whose way says so, and notes when it ceased to
// run. All are in the journal, on disk, before the first is touched. On failure
// some are off and some are not: BringBackAll of what the journal has takes it
// back.
absl::Status SetVmsAside(const std::vector<VmWay>& ways, Journal& journal,
                         const Dependencies& deps);

// Lets the VM run, or be paused, as it was before it was set aside; whether it
// ever was need not be known. Returns whether it was off, and had to be
// started. Idempotent. kNotFound: the hypervisor does not know it, and there is
// no copy. On failure what it can be started from stays.
absl::StatusOr<bool> BringBack(const OtherVm& vm, const Dependencies& deps);

// BringBack of all, those of a higher priority begun first. `done` is called
// for each, from several threads.
void BringBackAll(
    const std::vector<OtherVm>& vms, const Dependencies& deps,
    const std::function<void(size_t, const absl::StatusOr<bool>&)>& done);

// The command that starts the VM by hand: "`virsh start web`".
std::string HowToStart(const OtherVm& vm, const Dependencies& deps);

// In the new kernel: brings back all that the handover names, and adds a report
// of each.
void StartOthers(const HostRecord& host, const SpanClock& span_clock,
                 const Dependencies& deps, UpdateReport& report);

}  // namespace live_update

#endif  // HOST_UPDATE_SET_ASIDE_H_
