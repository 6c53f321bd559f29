// One fault: where, what, and of which VM. Written POINT[@VM]:ACTION[=VM]:
//
//   pause:kill              SIGKILL of the process as it enters the phase pause
//   save@vm2:enospc         taking vm2's state fails with ENOSPC
//   commit:kill-qemu=vm3    vm3's QEMU dies as the phase commit begins
//   seal:flip               a byte of the handover is inverted before its last
//                           flush
//
// Only the test build has this (//testing/faults:host-update-faulty). README.md
// in this folder tells how a point is added.

#ifndef TESTING_FAULTS_FAULT_H_
#define TESTING_FAULTS_FAULT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "host_update/phase.h"

namespace live_update::testing {

// Every place where a fault can happen. fault.cc has the table of them.
enum class FaultPoint {
  kNone,
  // On entering a phase.
  kPrepare,
  kPause,
  kSave,
  kCommit,
  kJump,
  kRestore,
  kResume,
  kSettle,
  // At a call for one VM, before it is made.
  kPreserveRam,
  kPauseVm,
  kSaveVm,
  kEndVm,
  kUndoVm,
  kRetrieveRam,
  kRestoreVm,
  kMark,    // It is paused, and not marked yet as one that runs on.
  kMarked,  // It is marked, and does not run yet.
  kAnnounceVm,
  kReleaseVm,
  // At a call for the host.
  kBegin,
  kReserve,
  kStage,
  kFlush,
  kSeal,
  kReboot,
  kRetrieve,
  kFinish,
};

enum class FaultAction {
  kError,        // kInternal.
  kEnospc,       // What the errno becomes.
  kEnomem,       //
  kEio,          //
  kKill,         // SIGKILL of this process.
  kStall,        // Nothing until the deadline; without one, for ever.
  kDelay,        // Nothing for a while, then it goes on.
  kKillQemu,     // SIGKILL of a VM's QEMU, then it goes on.
  kKillLibvirt,  // SIGKILL of libvirtd, then it goes on.
  kFlip,         // Inverts a byte in the middle of the handover image.
  kCut,          // Zeroes the second half of it, as if it had not been written.
};

struct FaultPointInfo {
  FaultPoint point;
  const char* name;
  Phase phase;  // In which it is met.
  enum Scope { kPhase, kVm, kHost } scope;
  bool has_deadline;  // A stall there ends.
};

struct FaultActionInfo {
  FaultAction action;
  const char* name;
};

absl::Span<const FaultPointInfo> FaultPoints();
absl::Span<const FaultActionInfo> FaultActions();
const FaultPointInfo& InfoOf(FaultPoint point);  // Not of kNone.
absl::string_view NameOf(FaultAction action);
// The point of entering `phase`; kNone of check, in which no fault is armed.
FaultPoint PointOf(Phase phase);

// Whether the handover image can be damaged there: it is in preserved memory,
// and nothing more is written to it.
bool HasImage(FaultPoint point);

struct Fault {
  FaultPoint point = FaultPoint::kNone;  // kNone: no fault.
  std::string vm;                        // Of a point of one VM.
  FaultAction action = FaultAction::kError;
  std::string victim;  // Of kKillQemu.
};

// kInvalidArgument: not POINT[@VM]:ACTION[=VM], or the action has no meaning at
// that point. An empty text is no fault.
absl::StatusOr<Fault> ParseFault(absl::string_view text);
std::string FaultText(const Fault& fault);

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULT_H_
