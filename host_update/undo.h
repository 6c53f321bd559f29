// The way back, before the kexec: one for an update that fails and for one
// whose process was killed.

#ifndef HOST_UPDATE_UNDO_H_
#define HOST_UPDATE_UNDO_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "host_update/dependencies.h"
#include "host_update/journal.pb.h"
#include "host_update/report/report.pb.h"

namespace live_update {

struct UndoResult {
  // Per VM that could not be made to run again as before, one line with the
  // reason and what to do. Empty: all run.
  std::vector<std::string> not_resumed;
  // VMs whose QEMU ended meanwhile: nothing is left to resume. One line each.
  std::vector<std::string> gone;
  // VMs that had been set aside, and had to be started again. One line each.
  std::vector<std::string> started;
  // What is left behind otherwise (a staged kernel, preserved memory), one line
  // each. VMs are not affected by it.
  std::vector<std::string> left_over;
  // Of post-resume hooks that failed.
  std::vector<Finding> findings;

  bool clean() const { return not_resumed.empty() && left_over.empty(); }
};

// Takes an update back from wherever it stands: revokes the handover, lets each
// VM of the journal run as before, unstages the kernel, starts what was set
// aside, unpreserves memory, tells guests and runs the post-resume hooks if
// notify hooks had begun, and removes the journal if all that worked, hooks
// aside. Every step is tried, whatever the others do. Idempotent.
UndoResult UndoUpdate(const Journal& journal, const Dependencies& deps);

// What the report of an update says that was taken back so.
UpdateReport::Result ResultOf(const UndoResult& undone);

// Undoes the update that a killed process left, if there is one. Of a restart
// of QEMU that can't go back any more, it goes on and restores the VM instead.
// kInternal: it could not be undone altogether (the message has all lines of
// UndoResult).
absl::Status UndoInterruptedUpdate(const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_UNDO_H_
