// Times on both sides of the kexec on one axis: seconds since the update began.

#ifndef HOST_UPDATE_SPANS_H_
#define HOST_UPDATE_SPANS_H_

#include <cstdint>

#include "host_update/clock.h"
#include "host_update/host_facts.h"
#include "host_update/phase.h"
#include "host_update/report/report.pb.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// Converts moments of the old kernel (TSC values of `record`) and of this one
// (now) to seconds since the update began. Where the TSC can't be relied on
// over the jump, the wall clock bridges it, exact to 1 to 2 s.
class SpanClock {
 public:
  // `first_line`: a moment of this kernel. `clock` must outlive it.
  SpanClock(const HostRecord& record, const ClockSample& first_line,
            Clock& clock);

  double OldKernel(uint64_t tsc) const;
  double Now() const;
  double FirstLine() const { return first_line_s_; }

 private:
  Clock& clock_;
  uint64_t started_tsc_;
  double tsc_hz_;
  int64_t first_line_boottime_ns_;
  double first_line_s_;  // On the common axis.
};

// A report with what `record` knows: who, from where, when.
UpdateReport BeginReport(const HostRecord& record, const HostFacts& host);

// Adds the old kernel's phases and the jump: from the commit to the first line.
void AddOldKernelSpans(const HostRecord& record, const SpanClock& clock,
                       UpdateReport& report);

// Sets the result from the VMs' results, and the host's blackout: from the
// start of the pause to the end of the restore.
void ConcludeReport(UpdateReport& report);

void AddSpan(Phase phase, double start_s, double end_s, UpdateReport& report);

}  // namespace live_update

#endif  // HOST_UPDATE_SPANS_H_
