// The end of an old QEMU whose VM is to run on in a new one: the only place
// where a QEMU with a VM in it is ended, so it is looked at twice.

#include <algorithm>
#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/pidfd.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/libvirt/connection.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/libvirt/qemu_process.h"
#include "host_update/qemu/qmp.h"

namespace live_update {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(20);
constexpr absl::Duration kQuestion = absl::Seconds(5);

}  // namespace

absl::StatusOr<VmProcess> LibvirtHypervisor::FindProcess(const VmRef& vm,
                                                         absl::Time) {
  absl::StatusOr<QemuProcess> process =
      FindQemuProcess(vm, options_.pid_directory);
  if (!process.ok()) return process.status();
  return VmProcess{.pid = process->pid, .started = process->started};
}

absl::Status LibvirtHypervisor::CheckBeforeEnd(const VmRef& vm,
                                               absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  Qmp qmp(monitor.get());
  // A guest that ran after the save would lose what it did.
  LU_ASSIGN_OR_RETURN(const std::string status, qmp.QueryStatus(deadline));
  if (status != "postmigrate") {
    return absl::FailedPreconditionError(
        absl::StrCat("its QEMU is not as the save left it, but ", status,
                     ": was it resumed by somebody?"));
  }
  LU_ASSIGN_OR_RETURN(const std::vector<MemoryBackend> backends,
                      qmp.QueryMemoryBackends(deadline));
  for (const MemoryBackend& backend : backends) {
    // A memfd has no such property, and is not discarded.
    const absl::StatusOr<bool> discards = qmp.GetBool(
        absl::StrCat("/objects/", backend.id), "discard-data", deadline);
    if (discards.ok() ? *discards
                      : !absl::IsFailedPrecondition(discards.status()) &&
                            !absl::IsNotFound(discards.status())) {
      return absl::FailedPreconditionError(absl::StrCat(
          "RAM block ", backend.id,
          discards.ok() ? " is discarded when its QEMU ends: take <discard/> "
                          "out of its <memoryBacking>, then stop and start it"
                        : absl::StrCat(": it is not known whether it is "
                                       "discarded when its QEMU ends: ",
                                       discards.status().message())));
    }
  }
  return absl::OkStatus();
}

absl::Status LibvirtHypervisor::WaitUntilOff(const VmRef& vm,
                                             absl::Time deadline) {
  while (absl::Now() < deadline) {
    const absl::StatusOr<VmInfo> info =
        Info(vm, std::min(deadline, absl::Now() + kQuestion));
    if (absl::IsNotFound(info.status())) return absl::OkStatus();
    if (info.ok() && info->state == VmState::kOff) return absl::OkStatus();
    absl::SleepFor(kPollInterval);
  }
  return absl::DeadlineExceededError(
      absl::StrCat(vm.name,
                   ": its QEMU has ended, but libvirt does not take "
                   "it for off in time"));
}

// libvirt's memory_backing_dir loses the VM's file at its end; names of ours
// keep it (state_preserve/dax_memory.h).
absl::Status LibvirtHypervisor::EndProcess(const VmRef& vm,
                                           const VmProcess& process,
                                           absl::Time deadline) {
  const std::string what = absl::StrCat("end the QEMU of ", vm.name);
  // A number that is none finds nothing, or a process that is not this one.
  const absl::StatusOr<UniqueFd> pidfd =
      OpenPidfd(static_cast<pid_t>(process.pid));
  if (!pidfd.ok() && !absl::IsNotFound(pidfd.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": ", pidfd.status().message()));
  }
  // Looked up with the process held, so that it is no other by now.
  const absl::StatusOr<QemuProcess> found =
      FindQemuProcess(vm, options_.pid_directory);
  if (!found.ok() && !absl::IsNotFound(found.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": ", found.status().message()));
  }
  if (!pidfd.ok() || !found.ok()) return WaitUntilOff(vm, deadline);
  if (found->pid != process.pid || found->started != process.started) {
    return absl::OkStatus();  // Another one runs it: a new QEMU.
  }
  if (absl::Status fit = CheckBeforeEnd(vm, deadline); !fit.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": ", fit.message()));
  }

  // From here on it may end whatever we do.
  const absl::Time orderly = absl::Now() + (deadline - absl::Now()) / 2;
  const absl::Status destroyed = Destroy(vm, orderly);
  if (!HasEnded(*pidfd, orderly)) {
    LogWarning(absl::StrCat(vm.name, ": libvirt does not end its QEMU (",
                            destroyed.message(), "): it is killed"));
    (void)SendSignal(*pidfd, SIGKILL);
    if (!HasEnded(*pidfd, deadline)) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, ": process ", process.pid,
                       " has been killed, but has not ended"));
    }
  }
  // A destroy that libvirt still has to do could hit the new QEMU.
  if (absl::IsDeadlineExceeded(destroyed)) return Annotate(destroyed, what);
  return WaitUntilOff(vm, deadline);
}

}  // namespace live_update
