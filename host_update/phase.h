// The phases of a live update, in their order. README.md tells what each does.

#ifndef HOST_UPDATE_PHASE_H_
#define HOST_UPDATE_PHASE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace live_update {

enum class Phase {
  kCheck,
  kPrepare,
  kPause,
  kSave,
  kCommit,
  kJump,  // The last one in the old kernel.
  kRestore,
  kResume,
  kSettle,
};

// "check", "prepare", …: as they stand in reports and journals.
absl::string_view PhaseName(Phase phase);

}  // namespace live_update

#endif  // HOST_UPDATE_PHASE_H_
