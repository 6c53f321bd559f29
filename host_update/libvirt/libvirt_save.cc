// The old kernel's side: what a VM is, and its state taken out of QEMU.

#include <libvirt/libvirt.h>

#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "host_update/libvirt/domain_xml.h"
#include "host_update/libvirt/libvirt_error.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/libvirt/qemu_process.h"
#include "host_update/libvirt/vm_directory.h"
#include "host_update/qemu/cpr_peer.h"
#include "host_update/qemu/qmp.h"

namespace live_update {
namespace {

// Asks QEMU what stands against a cpr-transfer. It answers for the mode that is
// set, so the mode is set for the question.
absl::Status AskForBlockers(Qmp& qmp, VmFacts& facts, absl::Time deadline) {
  std::vector<std::string>& reasons = facts.blocked_reasons;
  LU_ASSIGN_OR_RETURN(MigrationInfo before, qmp.QueryMigrate(deadline));
  facts.save_blocked_reasons = std::move(before.blocked_reasons);
  if (before.under_way()) {
    reasons.push_back("a migration is under way");
    facts.save_blocked_reasons.push_back(reasons.back());
    return absl::OkStatus();
  }
  const absl::Status set =
      qmp.SetMigrationMode(MigrationMode::kCprTransfer, deadline);
  if (absl::IsFailedPrecondition(set)) {
    reasons.push_back(
        absl::StrCat("this QEMU has no cpr-transfer: ", set.message()));
    return absl::OkStatus();
  }
  LU_RETURN_IF_ERROR(set);
  absl::StatusOr<MigrationInfo> info = qmp.QueryMigrate(deadline);
  LU_RETURN_IF_ERROR(qmp.SetMigrationMode(MigrationMode::kNormal, deadline));
  LU_RETURN_IF_ERROR(info.status());
  for (std::string& reason : info->blocked_reasons) {
    reasons.push_back(std::move(reason));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> LibvirtHypervisor::GetXml(const VmRef& vm,
                                                      unsigned flags,
                                                      absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string xml,
      connection_.OnDomain<absl::StatusOr<std::string>>(
          vm, absl::StrCat("describe ", vm.name), deadline,
          [name = vm.name,
           flags](virDomain* domain) -> absl::StatusOr<std::string> {
            char* const text = virDomainGetXMLDesc(domain, flags);
            if (text == nullptr) {
              return LastLibvirtError(absl::StrCat("describe ", name));
            }
            const absl::Cleanup free_text = [text] { free(text); };
            return std::string(text);
          }));
  return DomainXmlWithoutAdditions(xml, options_.runtime_directory);
}

absl::StatusOr<VmDescription> LibvirtHypervisor::Describe(const VmRef& vm,
                                                          absl::Time deadline) {
  VmDescription description;
  LU_ASSIGN_OR_RETURN(
      const std::string xml,
      GetXml(vm, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE, deadline));
  LU_ASSIGN_OR_RETURN(const std::string live_xml,
                      GetXml(vm, VIR_DOMAIN_XML_SECURE, deadline));
  LU_ASSIGN_OR_RETURN(description.domain_xml,
                      DomainXmlWithLiveCpu(xml, live_xml));
  LU_ASSIGN_OR_RETURN(const QemuProcess process,
                      FindQemuProcess(vm, options_.pid_directory));
  description.qemu_uid = process.uid;
  description.qemu_gid = process.gid;
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  LU_ASSIGN_OR_RETURN(description.qemu_version,
                      Qmp(monitor.get()).QueryVersion(deadline));
  return description;
}

absl::StatusOr<VmFacts> LibvirtHypervisor::Examine(const VmRef& vm,
                                                   absl::Time deadline) {
  VmFacts facts;
  LU_ASSIGN_OR_RETURN(facts.info, Info(vm, deadline));
  LU_ASSIGN_OR_RETURN(
      const std::string xml,
      GetXml(vm, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE, deadline));
  LU_ASSIGN_OR_RETURN(DomainFacts domain, ReadDomainXml(xml));
  facts.machine_type = std::move(domain.machine_type);
  facts.aux_ram_share = domain.aux_ram_share;
  facts.unsupported = std::move(domain.unsupported);
  facts.bridges = std::move(domain.host_interfaces);
  facts.policy = std::move(domain.policy);
  if (facts.info.state != VmState::kOff) {
    LU_RETURN_IF_ERROR(Annotate(ExamineQemu(vm, facts, deadline),
                                absl::StrCat("examine ", vm.name)));
  }
  return facts;
}

// libvirt asks the binary itself if it is not the one that it knows.
absl::Status LibvirtHypervisor::CheckInstalledQemu(const VmRef& vm,
                                                   absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::string xml, GetXml(vm, 0, deadline));
  LU_ASSIGN_OR_RETURN(DomainFacts domain, ReadDomainXml(xml));
  LU_ASSIGN_OR_RETURN(ConnectHandle connection, connection_.Get(deadline));
  return CallBefore<absl::Status>(
      deadline, "libvirt to ask the installed QEMU",
      [connection, domain = std::move(domain)] {
        const auto given = [](const std::string& text) {
          return text.empty() ? nullptr : text.c_str();
        };
        char* const text = virConnectGetDomainCapabilities(
            connection.get(), given(domain.emulator), given(domain.arch),
            given(domain.machine_type), given(domain.type), 0);
        if (text == nullptr) {
          return LastLibvirtError(
              absl::StrCat("ask for ", domain.machine_type));
        }
        free(text);
        return absl::OkStatus();
      });
}

absl::Status LibvirtHypervisor::ExamineQemu(const VmRef& vm, VmFacts& facts,
                                            absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  Qmp qmp(monitor.get());
  LU_ASSIGN_OR_RETURN(facts.qemu_version, qmp.QueryVersion(deadline));
  LU_ASSIGN_OR_RETURN(const QemuProcess process,
                      FindQemuProcess(vm, options_.pid_directory));
  // QEMU < 10.0 has no such property.
  facts.aux_ram_share =
      qmp.GetBool("/machine", "aux-ram-share", deadline).value_or(false);
  LU_RETURN_IF_ERROR(AskForBlockers(qmp, facts, deadline));
  LU_ASSIGN_OR_RETURN(facts.ram, FindGuestRam(qmp, process.pid,
                                              facts.blocked_reasons, deadline));
  LU_ASSIGN_OR_RETURN(facts.block_jobs, qmp.QueryBlockJobs(deadline));
  return absl::OkStatus();
}

absl::StatusOr<SavedVm> LibvirtHypervisor::Save(const VmRef& vm,
                                                absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const QemuProcess process,
                      FindQemuProcess(vm, options_.pid_directory));
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<VmDirectory> directory,
                      VmDirectory::Create(options_.runtime_directory, vm.uuid));
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  const CprSaveOptions save_options = {
      .directory = directory->path(),
      .uid = process.uid,
      .gid = process.gid,
      .check_peer =
          [&process](pid_t pid, uid_t /*uid*/) {
            return pid == process.pid
                       ? absl::OkStatus()
                       : absl::PermissionDeniedError(
                             absl::StrCat("process ", pid,
                                          " connected, which is not the "
                                          "VM's QEMU, ",
                                          process.pid));
          },
  };
  absl::StatusOr<SavedVm> saved = SaveOverCpr(*monitor, save_options, deadline);
  if (!saved.ok()) {
    return Annotate(saved.status(), absl::StrCat("save ", vm.name));
  }
  return saved;
}

}  // namespace live_update
