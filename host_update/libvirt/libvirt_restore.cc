// The new kernel's side: a VM started again from its saved state, over its own
// memory.

#include <libvirt/libvirt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/libvirt/domain_xml.h"
#include "host_update/libvirt/libvirt_error.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/libvirt/qemu_log.h"
#include "host_update/libvirt/qemu_process.h"
#include "host_update/libvirt/save_image.h"
#include "host_update/libvirt/vm_directory.h"
#include "host_update/qemu/cpr_peer.h"

namespace live_update {
namespace {

// Part of the time until the deadline that is kept for leaving no QEMU behind.
constexpr absl::Duration kMostTimeToCleanUp = absl::Seconds(5);

// How long after a failed resume libvirt's event may come that tells that the
// VM ran.
constexpr absl::Duration kEventPatience = absl::Milliseconds(500);

absl::Status WaitForInterfaces(const std::vector<std::string>& interfaces,
                               absl::Time deadline) {
  for (const std::string& interface : interfaces) {
    const std::string path = absl::StrCat("/sys/class/net/", interface);
    while (access(path.c_str(), F_OK) != 0) {
      if (absl::Now() >= deadline) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the host has no network interface ", interface, " (yet)"));
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
  }
  return absl::OkStatus();
}

// QEMU makes new memory, all zeros, for a block that it is not given, and for a
// file that is empty, and lets the guest run in it.
absl::Status CheckMemory(const RestorableVm& vm, const DomainFacts& facts) {
  uint64_t all_bytes = 0;
  absl::flat_hash_set<std::string> names;
  for (const CprFd& block : vm.saved.cpr_fds) {
    struct stat info {};
    if (fstat(block.fd.get(), &info) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("RAM block ", block.name));
    }
    if (info.st_size <= 0) {
      return absl::DataLossError(
          absl::StrCat("RAM block ", block.name, " is empty"));
    }
    all_bytes += static_cast<uint64_t>(info.st_size);
    names.insert(block.name);
  }
  for (const std::string& name : facts.ram_blocks) {
    if (!names.contains(name)) {
      return absl::DataLossError(
          absl::StrCat("RAM block ", name, " is missing"));
    }
  }
  if (all_bytes < facts.memory_bytes) {
    return absl::DataLossError(absl::StrCat("RAM blocks of ", all_bytes,
                                            " bytes for a VM with ",
                                            facts.memory_bytes));
  }
  return absl::OkStatus();
}

// That it is QEMU, of this VM, that listens for the VM's memory. libvirt writes
// the pid file before it starts QEMU's program.
absl::Status CheckListener(const VmRef& vm, uid_t qemu_uid,
                           absl::string_view pid_directory, pid_t pid,
                           uid_t uid) {
  LU_ASSIGN_OR_RETURN(const QemuProcess process,
                      FindQemuProcess(vm, pid_directory));
  if (pid == process.pid && uid == qemu_uid) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("process ", pid, " of user ", uid,
                   " listens, which is not the VM's QEMU, ", process.pid,
                   " of user ", qemu_uid));
}

// Paused, whatever it was.
absl::Status RestoreImage(virConnect* connection, const std::string& image) {
  if (virDomainRestoreFlags(connection, image.c_str(), nullptr,
                            VIR_DOMAIN_SAVE_PAUSED) == 0) {
    return absl::OkStatus();
  }
  return LastLibvirtError("libvirt");
}

// For a Restore that nobody waits for any more: its caller has been told that
// the VM does not run.
void UndoLateRestore(virConnect* connection, const VmRef& vm,
                     const absl::Status& restored) {
  if (!restored.ok()) {
    LogWarning(
        absl::StrCat("late: restore ", vm.name, ": ", restored.message()));
    return;
  }
  virDomain* const domain =
      virDomainLookupByUUIDString(connection, vm.uuid.c_str());
  const bool destroyed = domain != nullptr && virDomainDestroy(domain) == 0;
  LogError(absl::StrCat(vm.name, " was restored too late",
                        destroyed ? "; destroyed it" : "; it may still run"));
  if (domain != nullptr) virDomainFree(domain);
}

}  // namespace

absl::Status LibvirtHypervisor::CheckBeforeRestore(const RestorableVm& vm,
                                                   absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const DomainFacts facts,
                      ReadDomainXml(vm.description.domain_xml));
  if (facts.uuid != vm.ref.uuid || facts.name != vm.ref.name) {
    return absl::InvalidArgumentError(
        absl::StrCat("its domain XML is of ", facts.name, ", UUID ", facts.uuid,
                     ", not ", vm.ref.uuid));
  }
  LU_RETURN_IF_ERROR(CheckMemory(vm, facts));
  LU_RETURN_IF_ERROR(WaitForInterfaces(
      facts.host_interfaces,
      std::min(deadline, absl::Now() + options_.interface_wait)));
  // What runs already is not ours to be destroyed.
  const absl::StatusOr<VmInfo> info = Info(vm.ref, deadline);
  if (absl::IsNotFound(info.status())) return absl::OkStatus();
  LU_RETURN_IF_ERROR(info.status());
  if (info->state != VmState::kOff) {
    return absl::AlreadyExistsError("the VM is there already");
  }
  return absl::OkStatus();
}

absl::StatusOr<LibvirtHypervisor::RestoreAttempt> LibvirtHypervisor::TryRestore(
    const RestorableVm& vm, const VmDirectory& directory, absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::string qemu_directory,
                      directory.MakeFor("qemu", vm.description.qemu_uid,
                                        vm.description.qemu_gid));
  const std::string socket = absl::StrCat(qemu_directory, "/cpr");
  LU_ASSIGN_OR_RETURN(const std::string xml,
                      DomainXmlForRestore(vm.description.domain_xml, socket,
                                          options_.runtime_directory));
  const std::string image = absl::StrCat(directory.path(), "/state");
  LU_RETURN_IF_ERROR(
      WriteSaveImage(image, xml, vm.was_running, vm.saved.device_state));
  LU_ASSIGN_OR_RETURN(ConnectHandle connection, connection_.Get(deadline));
  LU_ASSIGN_OR_RETURN(CprLoader loader, CprLoader::Create());

  RestoreAttempt attempt;
  std::thread send([&] {
    attempt.sent = loader.Send(
        socket, vm.saved.cpr_fds,
        [&](pid_t pid, uid_t uid) {
          return CheckListener(vm.ref, vm.description.qemu_uid,
                               options_.pid_directory, pid, uid);
        },
        deadline);
    // libvirt would wait for that QEMU for ever.
    if (!attempt.sent.ok() && !absl::IsCancelled(attempt.sent)) {
      (void)Destroy(vm.ref, deadline);
    }
  });
  attempt.restored = CallBefore<absl::Status>(
      deadline, absl::StrCat("libvirt to restore ", vm.ref.name),
      [connection, image] { return RestoreImage(connection.get(), image); },
      [connection, ref = vm.ref](const absl::Status& late) {
        UndoLateRestore(connection.get(), ref, late);
      });
  loader.BreakOff();
  send.join();
  return attempt;
}

absl::Status LibvirtHypervisor::Restore(const RestorableVm& vm,
                                        absl::Time deadline) {
  const std::string what = absl::StrCat("restore ", vm.ref.name);
  LU_RETURN_IF_ERROR(Annotate(CheckBeforeRestore(vm, deadline), what));
  LU_ASSIGN_OR_RETURN(
      const std::unique_ptr<VmDirectory> directory,
      VmDirectory::Create(options_.runtime_directory, vm.ref.uuid));
  const QemuLog log(options_.log_directory, vm.ref.name);
  const absl::Time end =
      deadline - std::clamp((deadline - absl::Now()) / 4, absl::ZeroDuration(),
                            kMostTimeToCleanUp);
  const absl::StatusOr<RestoreAttempt> attempt =
      TryRestore(vm, *directory, end);
  if (!attempt.ok()) return Annotate(attempt.status(), what);

  // It is there, paused. Until LetRun is called no guest can have run.
  const int resumes = connection_.resumes().Count(vm.ref.uuid);
  absl::Status ready = attempt->restored;
  if (ready.ok() && vm.before_it_may_run) ready = vm.before_it_may_run();
  const bool let_run = ready.ok() && vm.was_running;
  const absl::Status done = let_run ? LetRun(vm.ref, end) : ready;
  if (done.ok()) return absl::OkStatus();

  // From here on: leave no QEMU, and find out what happened.
  const absl::Status destroyed = Destroy(vm.ref, deadline);
  // Only a guest that libvirt had told to run can have changed its memory; if
  // libvirt's answer is missing, nobody knows.
  const bool unknown = absl::IsDeadlineExceeded(done) ||
                       absl::IsUnavailable(done) || !destroyed.ok();
  const bool may_have_run =
      let_run && (unknown || connection_.resumes().WaitUntilMore(
                                 vm.ref.uuid, resumes, kEventPatience));
  const absl::Status& sent = attempt->sent;
  const absl::Status& reason =
      sent.ok() || absl::IsCancelled(sent) ? done : sent;
  return absl::Status(
      may_have_run ? absl::StatusCode::kAborted : reason.code(),
      absl::StrCat(what, ": ", reason.message(),
                   destroyed.ok() ? ""
                                  : absl::StrCat("; its QEMU may be left: ",
                                                 destroyed.message()),
                   log.NewErrors(reason.message())));
}

}  // namespace live_update
