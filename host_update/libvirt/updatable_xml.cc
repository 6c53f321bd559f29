#include "host_update/libvirt/updatable_xml.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "host_update/libvirt/domain_xml.h"
#include "host_update/libvirt/xml_tree.h"

namespace live_update {
namespace {

constexpr char kAuxRamShare[] = "aux-ram-share=on";

void ShareMemory(xmlNode* domain, absl::string_view source) {
  xmlNode* const backing = ChildOrNew(domain, "memoryBacking");
  SetAttribute(ChildOrNew(backing, "source"), "type", source);
  SetAttribute(ChildOrNew(backing, "access"), "mode", "shared");
  for (xmlNode* cell : NumaCells(domain)) {
    if (!Attribute(cell, "memAccess").empty()) {
      SetAttribute(cell, "memAccess", "shared");
    }
  }
}

// Takes "-machine aux-ram-share=on" out, where it stands alone.
void RemoveAuxRamShare(xmlNode* domain) {
  const auto arguments = QemuArguments(domain);
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i].second != kAuxRamShare) continue;
    Remove(arguments[i - 1].first);
    Remove(arguments[i].first);
    break;
  }
  RemoveEmptyQemuCommandline(domain);
}

}  // namespace

absl::StatusOr<std::string> NormalizedDomainXml(absl::string_view xml) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  return ToString(doc);
}

absl::StatusOr<std::string> UpdatableDomainXml(
    absl::string_view xml, absl::string_view memory_source) {
  LU_ASSIGN_OR_RETURN(const DomainFacts facts, ReadDomainXml(xml));
  if (facts.hugepages) {
    return absl::FailedPreconditionError(absl::StrCat(
        facts.name,
        " has hugepages, which can't be kept over a kexec: take <hugepages> "
        "out of its <memoryBacking> first, by virsh edit ",
        facts.name));
  }
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  xmlNode* const domain = xmlDocGetRootElement(doc.get());
  ShareMemory(domain, memory_source);
  if (!facts.aux_ram_share) {
    LU_RETURN_IF_ERROR(AddQemuArguments(domain, {"-machine", kAuxRamShare}));
  }
  return ToString(doc);
}

absl::StatusOr<std::string> DomainXmlAsBefore(absl::string_view xml,
                                              absl::string_view original) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  LU_ASSIGN_OR_RETURN(const XmlDoc before, ParseDomain(original));
  LU_ASSIGN_OR_RETURN(const DomainFacts facts, ReadDomainXml(original));
  xmlNode* const domain = xmlDocGetRootElement(doc.get());
  xmlNode* const old_domain = xmlDocGetRootElement(before.get());
  xmlNode* const backing = Child(domain, "memoryBacking");
  xmlNode* const old_backing = Child(old_domain, "memoryBacking");
  if (old_backing != nullptr) {
    xmlNode* const copy =
        xmlDocCopyNode(old_backing, doc.get(), /*recursive=*/1);
    if (backing != nullptr) {
      // In its very place, with the white space around it.
      xmlFreeNode(xmlReplaceNode(backing, copy));
    } else {
      xmlAddChild(domain, copy);
    }
  } else if (backing != nullptr) {
    Remove(backing);
  }
  const std::vector<xmlNode*> cells = NumaCells(domain);
  const std::vector<xmlNode*> old_cells = NumaCells(old_domain);
  for (size_t i = 0; i < cells.size() && i < old_cells.size(); ++i) {
    const std::string access = Attribute(old_cells[i], "memAccess");
    if (!access.empty()) SetAttribute(cells[i], "memAccess", access);
  }
  if (!facts.aux_ram_share) RemoveAuxRamShare(domain);
  return ToString(doc);
}

}  // namespace live_update
