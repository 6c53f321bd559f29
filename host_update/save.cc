#include "host_update/save.h"

#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/clock.h"
#include "host_update/deadline_call.h"
#include "host_update/identity.h"
#include "state_preserve/auxiliary_ram.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_writer.h"
#include "state_preserve/ram_digest.h"
#include "state_preserve/ram_identity.h"

namespace live_update {
namespace {

constexpr char kWriter[] = "host-update 0.1.0";

// A RAM block that is not preserved but comes as an fd is copied into the
// handover. Firmware, ROMs and video memory are; anything larger is guest RAM
// that the check did not see.
constexpr uint64_t kLargestAuxiliaryBlock = uint64_t{128} << 20;

void AddInPlaceBlock(const PreparedRam& ram, uint32_t cpr_id,
                     VmRecord& record) {
  RamBlock& block = *record.add_blocks();
  block.set_name(ram.block);
  block.set_cpr_id(cpr_id);
  block.set_size_bytes(ram.preserved.identity.size_bytes);
  block.mutable_in_place()->set_token(ram.preserved.token);
  block.mutable_in_place()->set_device(ram.preserved.identity.device);
  block.mutable_in_place()->set_inode(ram.preserved.identity.inode);
}

const PreparedRam* FindPrepared(const PreparedVm& vm,
                                const std::string& block) {
  for (const PreparedRam& ram : vm.ram) {
    if (ram.block == block) return &ram;
  }
  return nullptr;
}

// Sorts what came over the cpr channel into memory that stays where it is and
// small blocks whose contents go into the handover.
absl::Status AddBlocks(const PreparedVm& vm, const SavedVm& saved,
                       VmRecord& record, std::vector<AuxiliaryRam>& auxiliary) {
  absl::flat_hash_set<std::string> seen;
  for (const CprFd& cpr : saved.cpr_fds) {
    LU_ASSIGN_OR_RETURN(const RamIdentity identity, IdentityOf(cpr.fd));
    if (!seen.insert(cpr.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("QEMU sent RAM block ", cpr.name, " twice"));
    }
    if (const PreparedRam* ram = FindPrepared(vm, cpr.name); ram != nullptr) {
      if (identity != ram->preserved.identity) {
        return absl::FailedPreconditionError(absl::StrFormat(
            "RAM block %s is another piece of memory than was preserved (inode "
            "%d, %d bytes; preserved: inode %d, %d bytes)",
            cpr.name, identity.inode, identity.size_bytes,
            ram->preserved.identity.inode, ram->preserved.identity.size_bytes));
      }
      AddInPlaceBlock(*ram, cpr.id, record);
      continue;
    }
    if (identity.size_bytes > kLargestAuxiliaryBlock) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "RAM block %s of %d bytes is not preserved, and too large to be "
          "copied (limit %d): was memory plugged in since the check?",
          cpr.name, identity.size_bytes, kLargestAuxiliaryBlock));
    }
    LU_ASSIGN_OR_RETURN(
        AuxiliaryRam contents,
        ReadAuxiliaryRam(cpr.fd, cpr.name, identity.size_bytes));
    auxiliary.push_back(std::move(contents));
    RamBlock& block = *record.add_blocks();
    block.set_name(cpr.name);
    block.set_cpr_id(cpr.id);
    block.set_size_bytes(identity.size_bytes);
  }
  // RAM in a named file has no fd on the channel: the file is its identity, and
  // prepare saw that QEMU has it mapped.
  for (const PreparedRam& ram : vm.ram) {
    if (!seen.contains(ram.block)) AddInPlaceBlock(ram, 0, record);
  }
  return absl::OkStatus();
}

// Of a paused and saved VM: nobody writes to its RAM.
absl::StatusOr<RamDigests> DigestRamOf(const PreparedVm& vm,
                                       const std::string& update_id,
                                       RamCoverage coverage,
                                       absl::Time deadline) {
  const absl::Time start = absl::Now();
  std::vector<RamToDigest> blocks;
  for (const PreparedRam& ram : vm.ram) {
    blocks.push_back({.name = ram.block,
                      .size_bytes = ram.preserved.identity.size_bytes,
                      .fd = &ram.fd});
  }
  const size_t threads =
      coverage == RamCoverage::kAll ? std::thread::hardware_concurrency() : 1;
  absl::StatusOr<RamDigests> digests = DigestRam(
      blocks, coverage, absl::StrCat(update_id, "/", vm.info.ref.uuid), threads,
      deadline);
  if (absl::IsDeadlineExceeded(digests.status())) {
    return absl::DeadlineExceededError(
        absl::StrCat(digests.status().message(),
                     "; take --verify-ram sample, or a longer --save-timeout"));
  }
  if (!digests.ok()) return digests.status();
  digests->set_digest_s(absl::ToDoubleSeconds(absl::Now() - start));
  return digests;
}

// The first one writes the image out, the second its magic.
absl::Status Flush(const PreparedUpdate& update, const Dependencies& deps) {
  return CallBefore<absl::Status>(
      absl::Now() + deps.limits.sync,
      absl::StrCat("preserved memory to be written out (syncfs) for ",
                   absl::FormatDuration(deps.limits.sync),
                   "; look in dmesg for what its file system hangs at"),
      [outgoing = update.outgoing] { return outgoing->Flush(); });
}

// Text of a finding as a handover may hold it: its limit is no reason to fail
// an update, nor is a file name in it that is not UTF-8.
std::string ForHandover(absl::string_view text) {
  const bool plain =
      absl::c_all_of(text, [](char c) { return absl::ascii_isprint(c) != 0; });
  std::string fit = plain ? std::string(text) : absl::CEscape(text);
  if (fit.size() > kMaxStringBytes) {
    fit.resize(kMaxStringBytes - 3);
    fit += "...";
  }
  return fit;
}

}  // namespace

absl::Status PauseVm(PreparedVm& vm, const Dependencies& deps) {
  const absl::Time start = absl::Now();
  if (vm.info.state == VmState::kRunning) {
    LU_RETURN_IF_ERROR(
        deps.hypervisor->Pause(vm.info.ref, start + deps.limits.pause));
  }
  vm.paused_tsc = deps.clock->Sample().tsc();
  vm.pause_s = absl::ToDoubleSeconds(absl::Now() - start);
  return absl::OkStatus();
}

absl::Status RefuseNewcomers(const PreparedUpdate& update,
                             const Dependencies& deps) {
  absl::flat_hash_set<std::string> known;
  for (const PreparedVm& vm : update.vms) known.insert(vm.info.ref.uuid);
  LU_ASSIGN_OR_RETURN(const std::vector<VmInfo> now,
                      deps.hypervisor->List(absl::Now() + deps.limits.call));
  for (const VmInfo& vm : now) {
    const bool known_vm = known.contains(vm.ref.uuid);
    if (!known_vm && vm.state != VmState::kOff) {
      return absl::AbortedError(
          absl::StrCat("VM ", vm.ref.name,
                       " was started since the check; start the update again"));
    }
    if (known_vm && vm.state != VmState::kPaused) {
      return absl::AbortedError(absl::StrCat(
          "VM ", vm.ref.name,
          " is not paused although it was: somebody resumed or stopped it"));
    }
  }
  return absl::OkStatus();
}

absl::Status SaveVm(const PreparedUpdate& update, const PreparedVm& vm,
                    const Dependencies& deps) {
  const absl::Time start = absl::Now();
  const absl::Time deadline = start + deps.limits.save;
  LU_ASSIGN_OR_RETURN(const SavedVm saved,
                      deps.hypervisor->Save(vm.info.ref, deadline));
  LU_ASSIGN_OR_RETURN(const VmDescription now,
                      deps.hypervisor->Describe(vm.info.ref, deadline));
  if (now.domain_xml != vm.description.domain_xml) {
    return absl::AbortedError(
        "its definition changed since prepare (was a device plugged in?); "
        "start the update again");
  }

  VmRecord record;
  record.set_name(vm.info.ref.name);
  record.set_uuid(vm.info.ref.uuid);
  record.set_domain_xml(vm.description.domain_xml);
  record.set_was_running(vm.info.state == VmState::kRunning);
  record.set_persistent(vm.info.persistent);
  record.set_autostart(vm.info.autostart);
  record.set_qemu_uid(vm.description.qemu_uid);
  record.set_qemu_gid(vm.description.qemu_gid);
  record.set_qemu_version(vm.description.qemu_version);
  record.set_paused_tsc(vm.paused_tsc);
  record.set_pause_s(vm.pause_s);
  record.set_restore_priority(vm.restore_priority);
  if (vm.pages.has_value()) {
    record.mutable_ram_pages()->set_resident_bytes(vm.pages->resident_bytes);
    record.mutable_ram_pages()->set_huge_bytes(vm.pages->huge_bytes);
  }
  record.set_leave_guest_clock(vm.leave_guest_clock);
  record.set_guest_agent(vm.guest_agent);
  record.set_guest_told(vm.guest_told);
  std::vector<AuxiliaryRam> auxiliary;
  LU_RETURN_IF_ERROR(AddBlocks(vm, saved, record, auxiliary));
  std::optional<RamDigests> digests;
  if (deps.handover.verify_ram != RamCoverage::kNone) {
    LU_ASSIGN_OR_RETURN(
        digests,
        DigestRamOf(vm, update.update_id, deps.handover.verify_ram, deadline));
  }
  record.set_save_s(absl::ToDoubleSeconds(absl::Now() - start));
  return update.writer->AddVm(record, saved.device_state, auxiliary,
                              digests.has_value() ? &*digests : nullptr);
}

absl::Status Commit(PreparedUpdate& update, const ClockSample& started,
                    const std::vector<RecordedSpan>& spans,
                    const Journal& journal, const Dependencies& deps) {
  const ClockSample now = deps.clock->Sample();
  HostRecord record;
  record.set_update_id(update.update_id);
  record.set_host_id(update.host.machine_id);
  record.set_boot_id(update.host.boot_id);
  record.set_counter(update.counter);
  record.set_kernel_release(update.host.kernel_release);
  record.set_writer(kWriter);
  record.set_started_at(journal.started_at());
  record.set_target_kernel(ForHandover(journal.kernel()));
  *record.mutable_committed_at() = now;
  record.set_tsc_hz(MeasureTscHz(started, now));
  record.set_started_tsc(started.tsc());
  record.set_qemu_restart(update.qemu_restart);
  for (const RecordedSpan& span : spans) *record.add_spans() = span;
  for (const std::string& uuid : update.inactive_vm_uuids) {
    record.add_inactive_vm_uuids(uuid);
  }
  for (const Finding& finding : update.overridden) {
    OverriddenFinding& kept = *record.add_overridden();
    kept.set_code(ForHandover(finding.code()));
    kept.set_subject(ForHandover(finding.subject()));
    kept.set_message(ForHandover(finding.message()));
    kept.set_remedy(ForHandover(finding.remedy()));
  }
  *record.mutable_other_vms() = journal.set_aside();
  LU_RETURN_IF_ERROR(update.writer->Finish(record).status());
  LU_RETURN_IF_ERROR(Flush(update, deps));
  LU_RETURN_IF_ERROR(update.writer->Commit());
  return Flush(update, deps);
}

}  // namespace live_update
