// Where an update stands, for the journal, and how long each phase took.

#ifndef HOST_UPDATE_PHASE_RECORDER_H_
#define HOST_UPDATE_PHASE_RECORDER_H_

#include <vector>

#include "absl/status/status.h"
#include "host_update/dependencies.h"
#include "host_update/journal.pb.h"
#include "host_update/phase.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// `deps` and `journal` must outlive it. The journal is the owner's to fill;
// this writes it at each phase.
class PhaseRecorder {
 public:
  PhaseRecorder(const Dependencies& deps, Journal& journal);

  // Ends the phase before and begins `phase`: journals it, then asks
  // deps.entered. An error means: stop here.
  absl::Status Enter(Phase phase);

  // Ends the phase under way.
  void End();

  Phase current() const { return current_; }
  const ClockSample& started() const { return started_; }
  const std::vector<RecordedSpan>& spans() const { return spans_; }

 private:
  const Dependencies& deps_;
  Journal& journal_;
  const ClockSample started_;
  Phase current_ = Phase::kCheck;
  bool open_ = false;
  std::vector<RecordedSpan> spans_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_PHASE_RECORDER_H_
