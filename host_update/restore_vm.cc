#include "host_update/restore_vm.h"

#include <sys/utsname.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/deadline_call.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/policy.h"
#include "host_update/rescue.h"
#include "state_preserve/auxiliary_ram.h"
#include "state_preserve/ram_digest.h"
#include "state_preserve/ram_identity.h"

namespace live_update {
namespace {

PreservedRam ToPreservedRam(const RamBlock& block) {
  return {.token = block.in_place().token(),
          .identity = {.device = block.in_place().device(),
                       .inode = block.in_place().inode(),
                       .size_bytes = block.size_bytes()}};
}

const AuxiliaryRam* FindAuxiliary(const IncomingVm& vm,
                                  const std::string& name) {
  for (const AuxiliaryRam& ram : vm.auxiliary) {
    if (ram.name() == name) return &ram;
  }
  return nullptr;
}

absl::StatusOr<UniqueFd> OpenBlock(const IncomingVm& vm, const RamBlock& block,
                                   IncomingPreservation& incoming) {
  if (block.has_in_place()) {
    return incoming.RetrieveRam(vm.record.uuid(), block.name(),
                                ToPreservedRam(block));
  }
  const AuxiliaryRam* contents = FindAuxiliary(vm, block.name());
  if (contents == nullptr || contents->size_bytes() != block.size_bytes()) {
    return absl::DataLossError(absl::StrCat(
        "the handover lacks the contents of RAM block ", block.name()));
  }
  return WriteAuxiliaryRam(*contents);
}

// Puts together what Hypervisor::Restore takes, and counts it.
absl::StatusOr<RestorableVm> Assemble(const IncomingVm& vm,
                                      IncomingPreservation& incoming,
                                      VmReport& report) {
  RestorableVm restorable{
      .ref = {.name = vm.record.name(), .uuid = vm.record.uuid()},
      .description = {.domain_xml = vm.record.domain_xml(),
                      .qemu_uid = vm.record.qemu_uid(),
                      .qemu_gid = vm.record.qemu_gid(),
                      .qemu_version = vm.record.qemu_version()},
      .was_running = vm.record.was_running()};
  restorable.saved.device_state = std::string(vm.device_state);
  uint64_t ram_bytes = 0;
  uint64_t auxiliary_bytes = 0;
  for (const RamBlock& block : vm.record.blocks()) {
    absl::StatusOr<UniqueFd> fd = OpenBlock(vm, block, incoming);
    if (absl::IsDataLoss(fd.status())) {
      report.set_next_step(absl::StrCat(
          "it can't be restored any more, and no retry helps: give it up with "
          "`host-update restore --discard ",
          vm.record.name(), "`, then start it afresh with `virsh start ",
          vm.record.name(), "`"));
    }
    if (!fd.ok()) return fd.status();
    restorable.saved.cpr_fds.push_back(
        {.name = block.name(), .id = block.cpr_id(), .fd = *std::move(fd)});
    if (block.has_in_place()) ram_bytes += block.size_bytes();
  }
  for (const AuxiliaryRam& ram : vm.auxiliary) {
    for (const auto& extent : ram.extents()) {
      auxiliary_bytes += extent.data().size();
    }
  }
  report.set_device_state_bytes(vm.device_state.size());
  report.set_auxiliary_bytes(auxiliary_bytes);
  report.set_ram_bytes(ram_bytes);
  report.set_ram_bytes_copied(0);
  return restorable;
}

// In which way the memory of `block`, now `kept`, is what it was.
std::string Proof(const RamBlock& block, const RamIdentity& kept) {
  if (kept.inode == block.in_place().inode()) {
    return absl::StrFormat(
        "%s: inode %d, %d bytes, mapped by the old QEMU and by the new one; "
        "not copied",
        block.name(), kept.inode, kept.size_bytes);
  }
  return absl::StrFormat(
      "%s: inode %d of the old kernel, carried over as token %s, is inode %d "
      "of this one, %d bytes, mapped by the new QEMU; not copied",
      block.name(), block.in_place().inode(), block.in_place().token(),
      kept.inode, kept.size_bytes);
}

// Whether the QEMU that runs `vm` now uses the preserved memory. Adds a line of
// proof per block to `report`.
absl::Status ProveRamInPlace(const IncomingVm& vm,
                             IncomingPreservation& incoming,
                             const Dependencies& deps, VmReport& report) {
  LU_ASSIGN_OR_RETURN(const VmFacts facts,
                      deps.hypervisor->Examine(
                          {.name = vm.record.name(), .uuid = vm.record.uuid()},
                          absl::Now() + deps.limits.call));
  for (const RamBlock& block : vm.record.blocks()) {
    if (!block.has_in_place()) continue;
    LU_ASSIGN_OR_RETURN(const UniqueFd preserved,
                        incoming.RetrieveRam(vm.record.uuid(), block.name(),
                                             ToPreservedRam(block)));
    LU_ASSIGN_OR_RETURN(const RamIdentity kept, IdentityOf(preserved));
    bool found = false;
    for (const GuestRam& ram : facts.ram) {
      if (ram.name != block.name() || !ram.fd.ok()) continue;
      LU_ASSIGN_OR_RETURN(const RamIdentity used, IdentityOf(ram.fd));
      found = used == kept;
    }
    if (!found) {
      return absl::FailedPreconditionError(
          absl::StrCat("its QEMU does not use the preserved memory of ",
                       block.name(), ": it was started in another way"));
    }
    report.add_ram_proof(Proof(block, kept));
  }
  return absl::OkStatus();
}

// Whether anything of the VM is left to restore it from.
absl::StatusOr<bool> IsKept(IncomingPreservation& incoming,
                            const std::string& uuid) {
  LU_ASSIGN_OR_RETURN(const auto kept, incoming.VmUuids());
  return absl::c_linear_search(kept, uuid);
}

enum class Earlier { kNothing, kLeftPaused, kRestored, kRestoredAndReleased };

// What a run of this program that was cut off did for the VM. An error: it
// runs, but not from the preserved memory.
absl::StatusOr<Earlier> FindEarlierRestore(const IncomingVm& vm,
                                           IncomingPreservation& incoming,
                                           const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(
      const std::vector<VmInfo> vms,
      deps.hypervisor->List(absl::Now() + deps.limits.first_answer));
  for (const VmInfo& info : vms) {
    if (info.ref.uuid != vm.record.uuid() || info.state == VmState::kOff) {
      continue;
    }
    LU_ASSIGN_OR_RETURN(const bool kept, IsKept(incoming, info.ref.uuid));
    if (!kept) return Earlier::kRestoredAndReleased;
    VmReport unused;
    LU_RETURN_IF_ERROR(ProveRamInPlace(vm, incoming, deps, unused));
    // That run may have ended right before it let the VM run.
    return info.state == VmState::kPaused && vm.record.was_running()
               ? Earlier::kLeftPaused
               : Earlier::kRestored;
  }
  return Earlier::kNothing;
}

// Compares RAM with its digests, before anything runs on it.
absl::Status CompareRam(const IncomingVm& vm, const RestorableVm& restorable,
                        absl::Duration limit, VmReport& report) {
  const absl::Time start = absl::Now();
  std::vector<RamToDigest> blocks;
  for (const CprFd& cpr : restorable.saved.cpr_fds) {
    for (const RamBlock& block : vm.record.blocks()) {
      if (!block.has_in_place() || block.name() != cpr.name) continue;
      blocks.push_back({.name = block.name(),
                        .size_bytes = block.size_bytes(),
                        .fd = &cpr.fd});
    }
  }
  const size_t threads =
      vm.ram_digests->all_chunks() ? std::thread::hardware_concurrency() : 1;
  absl::Status status =
      VerifyRam(*vm.ram_digests, blocks, threads, start + limit);
  report.set_digest_after_s(absl::ToDoubleSeconds(absl::Now() - start));
  report.set_ram_digests(DescribeRamDigests(*vm.ram_digests));
  if (absl::IsDataLoss(status)) {
    report.set_next_step(absl::StrCat(
        "its memory is kept, but something wrote to it: `host-update restore "
        "--retry ",
        vm.record.name(),
        " --verify-ram none` lets it run on nevertheless, `host-update restore "
        "--discard ",
        vm.record.name(), "` gives it up"));
  }
  if (absl::IsDeadlineExceeded(status)) {
    report.set_next_step(absl::StrCat(
        "its memory and state are kept: `host-update restore --retry ",
        vm.record.name(), " --restore-timeout SECONDS` with more than the ",
        absl::ToInt64Seconds(limit),
        " s that it had compares it, `--verify-ram none` in its place lets it "
        "run on at once, uncompared"));
  }
  return status;
}

std::string RunningKernel() {
  struct utsname names {};
  return uname(&names) == 0 ? names.release : "";
}

void SetLost(const IncomingVm& vm, VmReport& report) {
  report.set_lost(true);
  report.set_next_step(
      absl::StrCat("its memory is kept until `host-update restore --discard ",
                   vm.record.name(), "`; start it afresh with `virsh start ",
                   vm.record.name(), "`"));
}

// A VM that ran on and does so no more: what was saved of it is stale, and must
// not meet memory that has gone on.
absl::Status CheckNeverResumed(const IncomingVm& vm,
                               IncomingPreservation& incoming,
                               VmReport& report) {
  LU_ASSIGN_OR_RETURN(const std::optional<ResumeMark> mark,
                      incoming.FindResumeMark(vm.record.uuid()));
  if (!mark.has_value()) return absl::OkStatus();
  SetLost(vm, report);
  return absl::DataLossError(absl::StrCat(
      "lost: it ran on in kernel ", mark->kernel,
      " after it was restored, and ",
      mark->in_this_boot ? "its QEMU has ended since" : "that kernel went down",
      ": its saved state is stale"));
}

// Before a VM runs in this kernel: says so in preserved memory.
absl::Status MarkResumed(const IncomingVm& vm, IncomingPreservation& incoming,
                         const Dependencies& deps) {
  LU_RETURN_IF_ERROR(Annotate(EndForcedCrashes(deps), "it is not let run"));
  return Annotate(incoming.MarkResumed(vm.record.uuid(), RunningKernel()),
                  "it is not let run, for it can't be noted that it was");
}

// A VM that was there, paused, when the run of this program that restored it
// was cut off.
absl::Status LetRun(const IncomingVm& vm, IncomingPreservation& incoming,
                    const Dependencies& deps) {
  LogInfo(absl::StrCat(vm.record.name(), " was restored and not let run yet"));
  LU_RETURN_IF_ERROR(MarkResumed(vm, incoming, deps));
  return deps.hypervisor->Resume(
      {.name = vm.record.name(), .uuid = vm.record.uuid()}, /*run=*/true,
      absl::Now() + deps.limits.resume);
}

// Starts it, having it marked in between. The mark goes again if it is certain
// that it never ran.
absl::Status Start(const IncomingVm& vm, RestorableVm restorable,
                   IncomingPreservation& incoming, const Dependencies& deps,
                   VmReport& report) {
  bool tried_to_mark = false;
  restorable.before_it_may_run = [&] {
    tried_to_mark = true;
    return MarkResumed(vm, incoming, deps);
  };
  absl::Status restored =
      deps.hypervisor->Restore(restorable, absl::Now() + deps.limits.restore);
  if (absl::IsAborted(restored)) SetLost(vm, report);
  if (restored.ok() || absl::IsAborted(restored) || !tried_to_mark) {
    return restored;
  }
  if (absl::Status unmarked = incoming.UnmarkResumed(vm.record.uuid());
      !unmarked.ok()) {
    LogError(absl::StrCat(vm.record.name(), " stays marked as one that ran: ",
                          unmarked.message()));
  }
  return restored;
}

absl::Status TryRestore(const IncomingVm& vm, IncomingPreservation& incoming,
                        const Dependencies& deps, VmReport& report) {
  deps.hypervisor->EndAbandonedRestore(
      {.name = vm.record.name(), .uuid = vm.record.uuid()},
      absl::Now() + deps.limits.restore);
  FeedWatchdogs(deps);
  LU_ASSIGN_OR_RETURN(const Earlier earlier,
                      FindEarlierRestore(vm, incoming, deps));
  if (earlier == Earlier::kRestoredAndReleased) return absl::OkStatus();
  FeedWatchdogs(deps);
  if (earlier == Earlier::kNothing) {
    LU_RETURN_IF_ERROR(CheckNeverResumed(vm, incoming, report));
  }
  LU_ASSIGN_OR_RETURN(RestorableVm restorable, Assemble(vm, incoming, report));
  if (earlier == Earlier::kRestored) return absl::OkStatus();
  if (earlier == Earlier::kLeftPaused) return LetRun(vm, incoming, deps);
  if (vm.ram_digests.has_value() &&
      deps.handover.verify_ram != RamCoverage::kNone) {
    LU_RETURN_IF_ERROR(CompareRam(vm, restorable, deps.limits.restore, report));
    FeedWatchdogs(deps);
  }
  return Start(vm, std::move(restorable), incoming, deps, report);
}

// Once more, from the start, if libvirt went away in the middle: systemd starts
// it again, and what was begun is ended as after a restorer that was killed.
absl::Status RestoreOrRetry(const IncomingVm& vm,
                            IncomingPreservation& incoming,
                            const Dependencies& deps, VmReport& report) {
  const VmReport before = report;
  absl::Status first = TryRestore(vm, incoming, deps, report);
  if (!absl::IsUnavailable(first)) return first;
  LogWarning(absl::StrCat(vm.record.name(), ": ", first.message(),
                          "; once more, when libvirt answers"));
  const absl::Time until = absl::Now() + deps.limits.first_answer;
  const absl::Status back = RetryWhileUnavailable(
      until, [&] { return deps.hypervisor->List(until).status(); });
  if (!back.ok()) return first;
  FeedWatchdogs(deps);
  report = before;
  return TryRestore(vm, incoming, deps, report);
}

}  // namespace

void FeedWatchdogs(const Dependencies& deps) {
  FeedRescue(deps);
  FeedHardwareWatchdog(deps);
}

absl::Status RestoreVm(const IncomingVm& vm, IncomingPreservation& incoming,
                       const Dependencies& deps, VmReport& report) {
  report.set_name(vm.record.name());
  report.set_uuid(vm.record.uuid());
  report.set_was_running(vm.record.was_running());
  report.set_way(std::string(WayName(Policy::IN_PLACE)));
  report.set_pause_s(vm.record.pause_s());
  report.set_save_s(vm.record.save_s());
  report.set_ram_resident_bytes(vm.record.ram_pages().resident_bytes());
  report.set_ram_huge_bytes(vm.record.ram_pages().huge_bytes());
  if (vm.ram_digests.has_value()) {
    report.set_digest_before_s(vm.ram_digests->digest_s());
  }
  absl::Status status = RestoreOrRetry(vm, incoming, deps, report);
  if (status.ok()) {
    report.set_result(VmReport::RESTORED);
    return status;
  }
  report.set_result(VmReport::NOT_RESTORED);
  report.set_reason(std::string(status.message()));
  if (report.next_step().empty()) {
    report.set_next_step(absl::StrCat(
        "memory and state are kept; mend the cause, then `host-update restore "
        "--retry ",
        vm.record.name(),
        "`, or give it up with `host-update restore --discard ",
        vm.record.name(), "`"));
  }
  LogError(
      absl::StrCat(vm.record.name(), " is not restored: ", status.message()));
  return status;
}

void SettleVm(const IncomingVm& vm, IncomingPreservation& incoming,
              const Dependencies& deps, VmReport& report) {
  absl::Status status = ProveRamInPlace(vm, incoming, deps, report);
  if (absl::IsDataLoss(status)) {
    // Its QEMU had it before: what is lost is what protected it.
    LogWarning(absl::StrCat(
        vm.record.name(), " runs, but nothing is left to prove its memory by: ",
        status.message()));
    return;
  }
  if (status.ok()) status = incoming.Release(vm.record.uuid());
  if (!status.ok()) {
    LogError(absl::StrCat(
        vm.record.name(),
        " runs, but its preserved memory is not given up: ", status.message(),
        "; `host-update restore --retry ", vm.record.name(), "` tries again"));
  }
}

void CorrectNextStep(IncomingPreservation& incoming, VmReport& report) {
  if (report.result() != VmReport::NOT_RESTORED) return;
  const absl::StatusOr<bool> kept = IsKept(incoming, report.uuid());
  if (!kept.ok() || *kept) return;
  report.set_next_step(absl::StrCat(
      "nothing of it is kept any more, neither memory nor state: start it "
      "afresh with `virsh start ",
      report.name(), "`"));
  LogError(absl::StrCat(report.name(), " is lost: ", report.next_step()));
}

}  // namespace live_update
