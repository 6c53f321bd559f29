#include "host_update/libvirt/libvirt_hypervisor.h"

#include <libvirt/libvirt.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/deadline_call.h"
#include "host_update/libvirt/libvirt_error.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/qemu/qmp.h"

namespace live_update {
namespace {

// 11003000 -> "11.3.0"
std::string VersionText(unsigned long version) {  // NOLINT: libvirt's type.
  return absl::StrCat(version / 1'000'000, ".", version / 1'000 % 1'000, ".",
                      version % 1'000);
}

VmState StateOf(int state) {
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
      return VmState::kRunning;
    case VIR_DOMAIN_PAUSED:
      return VmState::kPaused;
    case VIR_DOMAIN_SHUTOFF:
      return VmState::kOff;
    case VIR_DOMAIN_CRASHED:  // QEMU's process is there if it is active.
    default:
      return VmState::kOther;
  }
}

absl::StatusOr<VmState> GetState(virDomain* domain) {
  int state = 0;
  if (virDomainGetState(domain, &state, nullptr, 0) != 0) {
    return LastLibvirtError(virDomainGetName(domain));
  }
  return StateOf(state);
}

absl::StatusOr<VmInfo> GetInfo(virDomain* domain) {
  VmInfo info;
  char uuid[VIR_UUID_STRING_BUFLEN] = {};
  int autostart = 0;
  const int persistent = virDomainIsPersistent(domain);
  if (virDomainGetUUIDString(domain, uuid) != 0 || persistent < 0) {
    return LastLibvirtError(virDomainGetName(domain));
  }
  // A transient domain has no autostart.
  if (persistent == 1 && virDomainGetAutostart(domain, &autostart) != 0) {
    return LastLibvirtError(virDomainGetName(domain));
  }
  info.ref = {.name = virDomainGetName(domain), .uuid = uuid};
  info.persistent = persistent == 1;
  info.autostart = autostart != 0;
  LU_ASSIGN_OR_RETURN(info.state, GetState(domain));
  return info;
}

absl::StatusOr<std::vector<VmInfo>> ListDomains(virConnect* connection) {
  virDomain** domains = nullptr;
  const int count = virConnectListAllDomains(connection, &domains, 0);
  if (count < 0) return LastLibvirtError("list domains");
  const absl::Cleanup free_all = [domains, count] {
    for (int i = 0; i < count; ++i) virDomainFree(domains[i]);
    free(domains);
  };
  std::vector<VmInfo> vms;
  for (int i = 0; i < count; ++i) {
    absl::StatusOr<VmInfo> info = GetInfo(domains[i]);
    if (absl::IsNotFound(info.status())) continue;  // Gone meanwhile.
    LU_RETURN_IF_ERROR(info.status());
    vms.push_back(*std::move(info));
  }
  return vms;
}

absl::Status Suspend(virDomain* domain) {
  LU_ASSIGN_OR_RETURN(const VmState state, GetState(domain));
  if (state == VmState::kPaused) return absl::OkStatus();
  return virDomainSuspend(domain) == 0
             ? absl::OkStatus()
             : LastLibvirtError(
                   absl::StrCat("pause ", virDomainGetName(domain)));
}

absl::Status LetDomainRun(virDomain* domain) {
  const std::string name = virDomainGetName(domain);
  LU_ASSIGN_OR_RETURN(const VmState state, GetState(domain));
  if (state == VmState::kRunning) return absl::OkStatus();
  return virDomainResume(domain) == 0
             ? absl::OkStatus()
             : LastLibvirtError(absl::StrCat("resume ", name));
}

// For a Pause that nobody waits for any more.
void UndoLateSuspend(virDomain* domain, const absl::Status& suspended) {
  const std::string name = virDomainGetName(domain);
  if (!suspended.ok()) {
    LogWarning(absl::StrCat("late: ", suspended.message()));
    return;
  }
  const absl::Status resumed = LetDomainRun(domain);
  if (resumed.ok()) {
    LogWarning(absl::StrCat(name, " was paused too late and runs again"));
  } else {
    LogError(absl::StrCat(
        name, " was paused too late and stays paused: ", resumed.message()));
  }
}

}  // namespace

absl::StatusOr<HypervisorVersions> LibvirtHypervisor::Versions(
    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(ConnectHandle connection, connection_.Get(deadline));
  return CallBefore<absl::StatusOr<HypervisorVersions>>(
      deadline, "libvirt to tell its version",
      [connection]() -> absl::StatusOr<HypervisorVersions> {
        unsigned long libvirt = 0;  // NOLINT: libvirt's type.
        unsigned long qemu = 0;     // NOLINT: libvirt's type.
        if (virConnectGetLibVersion(connection.get(), &libvirt) != 0 ||
            virConnectGetVersion(connection.get(), &qemu) != 0) {
          return LastLibvirtError("versions");
        }
        return HypervisorVersions{.libvirt = VersionText(libvirt),
                                  .qemu = VersionText(qemu)};
      });
}

absl::StatusOr<std::vector<VmInfo>> LibvirtHypervisor::List(
    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(ConnectHandle connection, connection_.Get(deadline));
  return CallBefore<absl::StatusOr<std::vector<VmInfo>>>(
      deadline, "libvirt to list its domains",
      [connection] { return ListDomains(connection.get()); });
}

absl::StatusOr<VmInfo> LibvirtHypervisor::Info(const VmRef& vm,
                                               absl::Time deadline) {
  return connection_.OnDomain<absl::StatusOr<VmInfo>>(
      vm, absl::StrCat("tell the state of ", vm.name), deadline, GetInfo);
}

absl::Status LibvirtHypervisor::Pause(const VmRef& vm, absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const VmInfo info, Info(vm, deadline));
  // One that somebody else has paused must not be resumed by a late end of
  // this.
  if (info.state == VmState::kPaused) return absl::OkStatus();
  return connection_.OnDomain<absl::Status>(vm, absl::StrCat("pause ", vm.name),
                                            deadline, Suspend, UndoLateSuspend);
}

absl::Status LibvirtHypervisor::Resume(const VmRef& vm, bool run,
                                       absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const VmInfo info, Info(vm, deadline));
  if (info.state == VmState::kOff) {
    return absl::NotFoundError(
        absl::StrCat(vm.name, " is off: its QEMU is gone"));
  }
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  absl::Status ended = Qmp(monitor.get()).EndMigration(deadline);
  // A domain without a QEMU never began one.
  if (absl::IsUnimplemented(ended)) ended = absl::OkStatus();
  // What can run shall run, even if QEMU's mode could not be put back.
  if (run && !absl::IsDeadlineExceeded(ended)) {
    LU_RETURN_IF_ERROR(LetRun(vm, deadline));
  }
  return Annotate(ended, absl::StrCat("resume ", vm.name));
}

absl::Status LibvirtHypervisor::LetRun(const VmRef& vm, absl::Time deadline) {
  return connection_.OnDomain<absl::Status>(
      vm, absl::StrCat("resume ", vm.name), deadline, LetDomainRun);
}

absl::Status LibvirtHypervisor::Announce(const VmRef& vm, absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  return Annotate(Qmp(monitor.get()).AnnounceSelf(deadline), vm.name);
}

absl::Status LibvirtHypervisor::Start(const VmRef& vm, absl::Time deadline) {
  return connection_.OnDomain<absl::Status>(
      vm, absl::StrCat("start ", vm.name), deadline,
      [name = vm.name](virDomain* domain) {
        if (virDomainIsActive(domain) == 1) {
          return absl::FailedPreconditionError(
              absl::StrCat("start ", name, ": it is not off"));
        }
        return virDomainCreate(domain) == 0
                   ? absl::OkStatus()
                   : LastLibvirtError(absl::StrCat("start ", name));
      });
}

absl::Status LibvirtHypervisor::Destroy(const VmRef& vm, absl::Time deadline) {
  const absl::Status status = connection_.OnDomain<absl::Status>(
      vm, absl::StrCat("destroy ", vm.name), deadline,
      [name = vm.name](virDomain* domain) {
        if (virDomainIsActive(domain) == 0 || virDomainDestroy(domain) == 0 ||
            virDomainIsActive(domain) == 0) {
          return absl::OkStatus();
        }
        return LastLibvirtError(absl::StrCat("destroy ", name));
      });
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::unique_ptr<Hypervisor>> ConnectToLibvirt(
    const std::string& uri, absl::Time deadline, LibvirtOptions options) {
  auto hypervisor =
      std::make_unique<LibvirtHypervisor>(uri, std::move(options));
  LU_RETURN_IF_ERROR(hypervisor->Connect(deadline));
  return hypervisor;
}

absl::StatusOr<std::unique_ptr<Hypervisor>> WaitForLibvirt(
    const std::string& uri, absl::Time deadline, LibvirtOptions options) {
  auto connected = ConnectToLibvirt(uri, deadline, options);
  if (!absl::IsUnavailable(connected.status())) return connected;
  LogWarning(absl::StrCat(connected.status().message(),
                          "; waiting for it, at most ",
                          absl::ToInt64Seconds(deadline - absl::Now()), " s"));
  LU_RETURN_IF_ERROR(RetryWhileUnavailable(deadline, [&] {
    connected = ConnectToLibvirt(uri, deadline, options);
    return connected.status();
  }));
  return connected;
}

}  // namespace live_update
