#include "testing/faults/fault.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace live_update::testing {
namespace {

using Info = FaultPointInfo;

constexpr FaultPointInfo kPoints[] = {
    {FaultPoint::kPrepare, "prepare", Phase::kPrepare, Info::kPhase, false},
    {FaultPoint::kPause, "pause", Phase::kPause, Info::kPhase, false},
    {FaultPoint::kSave, "save", Phase::kSave, Info::kPhase, false},
    {FaultPoint::kCommit, "commit", Phase::kCommit, Info::kPhase, false},
    {FaultPoint::kJump, "jump", Phase::kJump, Info::kPhase, false},
    {FaultPoint::kRestore, "restore", Phase::kRestore, Info::kPhase, false},
    {FaultPoint::kResume, "resume", Phase::kResume, Info::kPhase, false},
    {FaultPoint::kSettle, "settle", Phase::kSettle, Info::kPhase, false},

    {FaultPoint::kPreserveRam, "preserve", Phase::kPrepare, Info::kVm, false},
    {FaultPoint::kPauseVm, "pause", Phase::kPause, Info::kVm, true},
    {FaultPoint::kSaveVm, "save", Phase::kSave, Info::kVm, true},
    {FaultPoint::kEndVm, "end", Phase::kCommit, Info::kVm, true},
    {FaultPoint::kUndoVm, "undo", Phase::kJump, Info::kVm, true},
    {FaultPoint::kRetrieveRam, "retrieve", Phase::kRestore, Info::kVm, false},
    {FaultPoint::kRestoreVm, "restore", Phase::kRestore, Info::kVm, true},
    {FaultPoint::kAnnounceVm, "announce", Phase::kResume, Info::kVm, true},
    {FaultPoint::kMark, "mark", Phase::kRestore, Info::kVm, false},
    {FaultPoint::kMarked, "marked", Phase::kRestore, Info::kVm, false},
    {FaultPoint::kReleaseVm, "release", Phase::kResume, Info::kVm, false},

    {FaultPoint::kBegin, "begin", Phase::kPrepare, Info::kHost, false},
    {FaultPoint::kReserve, "reserve", Phase::kPrepare, Info::kHost, false},
    {FaultPoint::kStage, "stage", Phase::kPrepare, Info::kHost, false},
    {FaultPoint::kFlush, "flush", Phase::kCommit, Info::kHost, true},
    {FaultPoint::kSeal, "seal", Phase::kCommit, Info::kHost, true},
    {FaultPoint::kReboot, "reboot", Phase::kJump, Info::kHost, false},
    {FaultPoint::kRetrieve, "find", Phase::kRestore, Info::kHost, false},
    {FaultPoint::kFinish, "finish", Phase::kSettle, Info::kHost, false},
};

constexpr FaultActionInfo kActions[] = {
    {FaultAction::kError, "error"},
    {FaultAction::kEnospc, "enospc"},
    {FaultAction::kEnomem, "enomem"},
    {FaultAction::kEio, "eio"},
    {FaultAction::kKill, "kill"},
    {FaultAction::kStall, "stall"},
    {FaultAction::kDelay, "delay"},
    {FaultAction::kKillQemu, "kill-qemu"},
    {FaultAction::kKillLibvirt, "kill-libvirt"},
    {FaultAction::kFlip, "flip"},
    {FaultAction::kCut, "cut"},
};

std::string PointText(const Fault& fault) {
  const FaultPointInfo& info = InfoOf(fault.point);
  return info.scope == Info::kVm ? absl::StrCat(info.name, "@", fault.vm)
                                 : info.name;
}

absl::Status Refuse(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "HOST_UPDATE_FAULT=", text, ": ", why,
      "; want POINT:ACTION, POINT@VM:ACTION or POINT:kill-qemu=VM"));
}

}  // namespace

absl::Span<const FaultPointInfo> FaultPoints() { return kPoints; }
absl::Span<const FaultActionInfo> FaultActions() { return kActions; }

const FaultPointInfo& InfoOf(FaultPoint point) {
  const FaultPointInfo* info = kPoints;
  while (info->point != point) ++info;
  return *info;
}

absl::string_view NameOf(FaultAction action) {
  const FaultActionInfo* info = kActions;
  while (info->action != action) ++info;
  return info->name;
}

FaultPoint PointOf(Phase phase) {
  for (const FaultPointInfo& info : kPoints) {
    if (info.scope == Info::kPhase && info.phase == phase) return info.point;
  }
  return FaultPoint::kNone;
}

bool HasImage(FaultPoint point) {
  return point == FaultPoint::kFlush || point == FaultPoint::kSeal ||
         point == FaultPoint::kJump || point == FaultPoint::kReboot;
}

absl::StatusOr<Fault> ParseFault(absl::string_view text) {
  if (text.empty()) return Fault{};
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::pair<std::string, std::string> where =
      absl::StrSplit(parts.first, absl::MaxSplits('@', 1));
  const std::pair<std::string, std::string> what =
      absl::StrSplit(parts.second, absl::MaxSplits('=', 1));
  Fault fault{.vm = where.second, .victim = what.second};

  for (const FaultPointInfo& info : kPoints) {
    if (info.name == where.first &&
        (info.scope == Info::kVm) == !where.second.empty()) {
      fault.point = info.point;
    }
  }
  if (fault.point == FaultPoint::kNone) return Refuse(text, "no such point");
  bool known = false;
  for (const FaultActionInfo& info : kActions) {
    if (info.name != what.first) continue;
    fault.action = info.action;
    known = true;
  }
  if (!known) return Refuse(text, "no such action");

  if (fault.action == FaultAction::kKillQemu) {
    if (fault.victim.empty()) fault.victim = fault.vm;
    if (fault.victim.empty()) return Refuse(text, "whose QEMU?");
  } else if (!fault.victim.empty()) {
    return Refuse(text, "only kill-qemu has a victim");
  }
  if ((fault.action == FaultAction::kFlip ||
       fault.action == FaultAction::kCut) &&
      !HasImage(fault.point)) {
    return Refuse(text, "there is no handover to damage at that point");
  }
  return fault;
}

std::string FaultText(const Fault& fault) {
  if (fault.point == FaultPoint::kNone) return "";
  std::string text = absl::StrCat(PointText(fault), ":", NameOf(fault.action));
  if (!fault.victim.empty() && fault.victim != fault.vm) {
    absl::StrAppend(&text, "=", fault.victim);
  }
  return text;
}

}  // namespace live_update::testing
