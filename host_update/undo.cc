#include "host_update/undo.h"

#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/deadline_call.h"
#include "host_update/guests.h"
#include "host_update/hardware_watchdog.h"
#include "host_update/hooks.h"
#include "host_update/journal.h"
#include "host_update/parallel.h"
#include "host_update/policy.h"
#include "host_update/rescue.h"
#include "host_update/restart_vmm.h"
#include "host_update/set_aside.h"
#include "host_update/underway.h"

namespace live_update {

namespace {

// What a restart of QEMU had saved and taken over when it was turned back.
absl::Status DiscardTakenOver(PreservedMemory& memory,
                              const std::string& update_id) {
  LU_ASSIGN_OR_RETURN(const auto sets, memory.Unfinished());
  for (const auto& set : sets) {
    if (set->update_id() != update_id) continue;
    LU_ASSIGN_OR_RETURN(const std::vector<std::string> uuids, set->VmUuids());
    for (const std::string& uuid : uuids) {
      LU_RETURN_IF_ERROR(set->Discard(uuid));
    }
    LU_RETURN_IF_ERROR(set->FinishIfEmpty().status());
  }
  return absl::OkStatus();
}

}  // namespace

UpdateReport::Result ResultOf(const UndoResult& undone) {
  return undone.not_resumed.empty() ? UpdateReport::FAILED_UNHARMED
                                    : UpdateReport::FAILED_RESUME;
}

UndoResult UndoUpdate(const Journal& journal, const Dependencies& deps) {
  UndoResult result;

  // First of all the handover loses its validity: a VM that runs on must never
  // be restored from it, whatever happens to this host from here on. Should its
  // file system hang, the VMs must run nevertheless.
  if (absl::Status status = CallBefore<absl::Status>(
          absl::Now() + deps.limits.sync, "its file system",
          [memory = deps.memory, restart = journal.has_restart(),
           id = journal.update_id()]() -> absl::Status {
            LU_RETURN_IF_ERROR(memory->DiscardStaleOutgoing());
            return restart ? DiscardTakenOver(*memory, id) : absl::OkStatus();
          });
      !status.ok()) {
    result.left_over.push_back(absl::StrCat(
        "preserved memory: ", status.message(),
        "; don't kexec this host before `host-update abort` has succeeded"));
  }

  std::mutex mutex;
  ForEachInParallel(journal.vms_size(), deps.parallelism, [&](size_t i) {
    const Journal::Vm& vm = journal.vms(static_cast<int>(i));
    const VmRef ref{.name = vm.name(), .uuid = vm.uuid()};
    const absl::Status status = deps.hypervisor->Resume(
        ref, vm.was_running(), absl::Now() + deps.limits.resume);
    if (status.ok()) return;
    std::lock_guard lock(mutex);
    if (absl::IsNotFound(status)) {
      result.gone.push_back(
          absl::StrCat(vm.name(), ": its QEMU is gone (", status.message(),
                       "); start it again with `virsh start ", vm.name(), "`"));
    } else {
      result.not_resumed.push_back(absl::StrCat(
          vm.name(), ": ", status.message(),
          "; try `host-update abort`, then `virsh resume ", vm.name(), "`"));
    }
  });

  // A restart of QEMU stages none: what is staged is somebody else's.
  if (!journal.has_restart()) {
    if (absl::Status status = DisarmRescue(deps); !status.ok()) {
      result.left_over.push_back(
          absl::StrCat("rescue kernel: ", status.message()));
    }
    if (absl::Status status = StopHardwareWatchdog(deps); !status.ok()) {
      result.left_over.emplace_back(status.message());
    }
    if (absl::Status status = deps.kexec->Unstage(); !status.ok()) {
      result.left_over.push_back(absl::StrCat(
          "staged kernel: ", status.message(), "; unstage it with `kexec -u`"));
    }
  }
  std::vector<OtherVm> set_aside(journal.set_aside().begin(),
                                 journal.set_aside().end());
  BringBackAll(
      set_aside, deps, [&](size_t i, const absl::StatusOr<bool>& was_off) {
        const OtherVm& vm = set_aside[i];
        std::lock_guard lock(mutex);
        if (was_off.ok() && *was_off) {
          result.started.push_back(absl::StrCat(
              vm.name(), vm.way() == WayName(Policy::SHUTDOWN)
                             ? " had been shut down, and boots again"
                             : " had been saved, and runs again from there"));
        } else if (absl::IsNotFound(was_off.status())) {
          result.gone.push_back(
              absl::StrCat(vm.name(), ": ", was_off.status().message(),
                           ": there is nothing left to start it from"));
        } else if (!was_off.ok()) {
          result.not_resumed.push_back(absl::StrCat(
              vm.name(), ": ", was_off.status().message(),
              "; try `host-update abort`, then ", HowToStart(vm, deps)));
        }
      });
  if (absl::Status status = journal.has_restart()
                                ? absl::OkStatus()
                                : ForgetUnderway(deps.paths.state_dir);
      !status.ok()) {
    result.left_over.emplace_back(status.message());
  }
  // Before the journal goes: who dies in between has it done again.
  if (journal.hooks_begun()) {
    TellGuestsOfReturn(journal, deps);
    result.findings = RunPostResumeHooks(
        {.update_id = journal.update_id(),
         .kernel = journal.kernel(),
         .result = UpdateReport::Result_Name(ResultOf(result))},
        deps);
  }
  if (result.clean()) {
    if (absl::Status status = RemoveJournal(deps.paths.run_dir); !status.ok()) {
      result.left_over.emplace_back(status.message());
    }
  }
  for (const std::string& line : result.started) LogInfo(line);
  for (const std::string& line : result.gone) LogError(line);
  for (const std::string& line : result.not_resumed) LogError(line);
  for (const std::string& line : result.left_over) LogError(line);
  return result;
}

absl::Status UndoInterruptedUpdate(const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const std::optional<Journal> journal,
                      ReadJournal(deps.paths.run_dir));
  // Without a journal nothing was paused or staged, but memory may have been
  // preserved by a process that died before it wrote one.
  if (!journal.has_value()) return deps.memory->DiscardStaleOutgoing();

  if (journal->restart().ending()) {
    return FinishInterruptedRestart(*journal, deps);
  }
  LogWarning(absl::StrCat("update ", journal->update_id(), " was cut off in ",
                          journal->phase(), "; taking it back"));
  UndoResult undone = UndoUpdate(*journal, deps);
  if (undone.clean()) return absl::OkStatus();
  std::vector<std::string> lines = std::move(undone.not_resumed);
  lines.insert(lines.end(), undone.left_over.begin(), undone.left_over.end());
  return absl::InternalError(absl::StrCat(
      "update ", journal->update_id(), ", cut off in ", journal->phase(),
      ", could not be taken back: ", absl::StrJoin(lines, "; ")));
}

}  // namespace live_update
