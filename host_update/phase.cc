#include "host_update/phase.h"

namespace live_update {

absl::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kCheck:
      return "check";
    case Phase::kPrepare:
      return "prepare";
    case Phase::kPause:
      return "pause";
    case Phase::kSave:
      return "save";
    case Phase::kCommit:
      return "commit";
    case Phase::kJump:
      return "jump";
    case Phase::kRestore:
      return "restore";
    case Phase::kResume:
      return "resume";
    case Phase::kSettle:
      return "settle";
  }
  return "unknown";
}

}  // namespace live_update
