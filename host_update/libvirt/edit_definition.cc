#include <cstdlib>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "host_update/libvirt/libvirt_error.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/libvirt/updatable_xml.h"

namespace live_update {
namespace {

absl::StatusOr<DefinitionChange> Edit(virDomain* domain,
                                      const std::string& name,
                                      const DefinitionEdit& edit) {
  if (virDomainIsPersistent(domain) == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        name,
        " is transient: it has no definition to change; who creates it "
        "must ask for shared memory"));
  }
  char* const text = virDomainGetXMLDesc(
      domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
  if (text == nullptr) {
    return LastLibvirtError(absl::StrCat("describe ", name));
  }
  const absl::Cleanup free_text = [text] { free(text); };
  DefinitionChange change;
  // Both through the same writer, so that what differs was changed.
  LU_ASSIGN_OR_RETURN(change.before, NormalizedDomainXml(text));
  LU_ASSIGN_OR_RETURN(change.after,
                      edit.memory_source.empty()
                          ? DomainXmlAsBefore(text, edit.original)
                          : UpdatableDomainXml(text, edit.memory_source));
  if (change.before == change.after || edit.dry_run) return change;
  virDomain* const defined =
      virDomainDefineXML(virDomainGetConnect(domain), change.after.c_str());
  if (defined == nullptr) {
    return LastLibvirtError(absl::StrCat("define ", name));
  }
  virDomainFree(defined);
  return change;
}

}  // namespace

absl::StatusOr<DefinitionChange> LibvirtHypervisor::EditDefinition(
    const VmRef& vm, const DefinitionEdit& edit, absl::Time deadline) {
  return connection_.OnDomain<absl::StatusOr<DefinitionChange>>(
      vm, absl::StrCat("change the definition of ", vm.name), deadline,
      [name = vm.name, edit](virDomain* domain) {
        return Edit(domain, name, edit);
      });
}

}  // namespace live_update
