#include "host_update/phase_recorder.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/journal.h"

namespace live_update {

PhaseRecorder::PhaseRecorder(const Dependencies& deps, Journal& journal)
    : deps_(deps), journal_(journal), started_(deps.clock->Sample()) {}

absl::Status PhaseRecorder::Enter(Phase phase) {
  End();
  current_ = phase;
  open_ = true;
  LogInfo(PhaseName(phase));
  RecordedSpan& span = spans_.emplace_back();
  span.set_phase(std::string(PhaseName(phase)));
  span.set_start_tsc(deps_.clock->Sample().tsc());
  journal_.set_phase(std::string(PhaseName(phase)));
  LU_RETURN_IF_ERROR(WriteJournal(deps_.paths.run_dir, journal_));
  return deps_.entered(phase);
}

void PhaseRecorder::End() {
  if (open_) spans_.back().set_end_tsc(deps_.clock->Sample().tsc());
  open_ = false;
}

}  // namespace live_update
