// VMs that libvirt itself saves, or that shut down, and comes back with.

#include <libvirt/libvirt.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/libvirt/libvirt_error.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"

namespace live_update {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(200);
// For libvirt to break a save off and let the VM run on.
constexpr absl::Duration kTimeToStop = absl::Seconds(30);

// Whether libvirt is saving the domain, and nothing else.
absl::StatusOr<bool> IsSaving(virDomain* domain) {
  if (virDomainIsActive(domain) != 1) return false;
  int type = VIR_DOMAIN_JOB_NONE;
  virTypedParameter* params = nullptr;
  int count = 0;
  if (virDomainGetJobStats(domain, &type, &params, &count, 0) != 0) {
    const absl::Status error = LastLibvirtError(virDomainGetName(domain));
    // It has gone off meanwhile, or is one without QEMU.
    if (absl::IsFailedPrecondition(error) || absl::IsUnimplemented(error)) {
      return false;
    }
    return error;
  }
  int operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
  (void)virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION,
                             &operation);
  virTypedParamsFree(params, count);
  return type != VIR_DOMAIN_JOB_NONE &&
         operation == VIR_DOMAIN_JOB_OPERATION_SAVE;
}

absl::Status AbortJob(virDomain* domain) {
  LU_ASSIGN_OR_RETURN(const bool saving, IsSaving(domain));
  if (!saving || virDomainAbortJob(domain) == 0) return absl::OkStatus();
  const absl::Status error =
      LastLibvirtError(absl::StrCat("stop saving ", virDomainGetName(domain)));
  // It may have ended by itself.
  return absl::IsFailedPrecondition(error) ? absl::OkStatus() : error;
}

}  // namespace

absl::Status LibvirtHypervisor::SaveWith(
    const VmRef& vm, const std::string& what,
    const std::function<int(virDomain*)>& save, absl::Time deadline) {
  const absl::Status saved = connection_.OnDomain<absl::Status>(
      vm, what, deadline, [what, save](virDomain* domain) {
        return save(domain) == 0 ? absl::OkStatus() : LastLibvirtError(what);
      });
  if (!absl::IsDeadlineExceeded(saved)) return saved;
  // libvirt's daemon goes on with it.
  const absl::Status stopped = StopSaving(vm, absl::Now() + kTimeToStop);
  if (stopped.ok()) return saved;
  return absl::DeadlineExceededError(
      absl::StrCat(saved.message(), "; and it goes on: ", stopped.message()));
}

absl::Status LibvirtHypervisor::ManagedSave(const VmRef& vm,
                                            absl::Time deadline) {
  return SaveWith(
      vm, absl::StrCat("save ", vm.name, " to disk"),
      [](virDomain* domain) { return virDomainManagedSave(domain, 0); },
      deadline);
}

absl::Status LibvirtHypervisor::SaveToFile(const VmRef& vm,
                                           const std::string& file,
                                           absl::Time deadline) {
  if (access(file.c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(absl::StrCat(file, " is there already"));
  }
  return SaveWith(
      vm, absl::StrCat("save ", vm.name, " to ", file),
      [file](virDomain* domain) {
        return virDomainSaveFlags(domain, file.c_str(), nullptr, 0);
      },
      deadline);
}

absl::Status LibvirtHypervisor::RestoreFromFile(const VmRef& vm,
                                                const std::string& file,
                                                bool run, absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(ConnectHandle connection, connection_.Get(deadline));
  const std::string what = absl::StrCat("restore ", vm.name, " from ", file);
  // What was saved running comes up running.
  return CallBefore<absl::Status>(
      deadline, absl::StrCat("libvirt to ", what),
      [connection, what, file, run] {
        return virDomainRestoreFlags(connection.get(), file.c_str(), nullptr,
                                     run ? 0 : VIR_DOMAIN_SAVE_PAUSED) == 0
                   ? absl::OkStatus()
                   : LastLibvirtError(what);
      });
}

absl::Status LibvirtHypervisor::StopSaving(const VmRef& vm,
                                           absl::Time deadline) {
  LU_RETURN_IF_ERROR(connection_.OnDomain<absl::Status>(
      vm, absl::StrCat("stop saving ", vm.name), deadline, AbortJob));
  while (true) {
    LU_ASSIGN_OR_RETURN(const bool saving,
                        connection_.OnDomain<absl::StatusOr<bool>>(
                            vm, absl::StrCat("tell what it does to ", vm.name),
                            deadline, IsSaving));
    if (!saving) return absl::OkStatus();
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("libvirt still saves ", vm.name));
    }
    absl::SleepFor(kPollInterval);
  }
}

absl::Status LibvirtHypervisor::Shutdown(const VmRef& vm, absl::Time deadline) {
  const std::string what = absl::StrCat("shut ", vm.name, " down");
  LU_RETURN_IF_ERROR(connection_.OnDomain<absl::Status>(
      vm, what, deadline, [what](virDomain* domain) {
        return virDomainShutdown(domain) == 0 ? absl::OkStatus()
                                              : LastLibvirtError(what);
      }));
  while (true) {
    LU_ASSIGN_OR_RETURN(const VmInfo info, Info(vm, absl::Now() + kTimeToStop));
    if (info.state == VmState::kOff) return absl::OkStatus();
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, ": the guest did not in time"));
    }
    absl::SleepFor(kPollInterval);
  }
}

}  // namespace live_update
