// libxml2's tree, as far as domain XML needs it. Private to domain_xml.

#ifndef HOST_UPDATE_LIBVIRT_XML_TREE_H_
#define HOST_UPDATE_LIBVIRT_XML_TREE_H_

#include <libxml/tree.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

struct XmlDocDeleter {
  void operator()(xmlDoc* doc) const { xmlFreeDoc(doc); }
};
using XmlDoc = std::unique_ptr<xmlDoc, XmlDocDeleter>;

inline constexpr char kQemuNamespace[] =
    "http://libvirt.org/schemas/domain/qemu/1.0";

// A document whose root is <domain>. kInvalidArgument with libxml2's reason.
absl::StatusOr<XmlDoc> ParseDomain(absl::string_view xml);

// The root with all below it, without an XML declaration.
std::string ToString(const XmlDoc& doc);

// Child elements called `name`, outside of any namespace; all of them if `name`
// is empty.
std::vector<xmlNode*> Children(const xmlNode* parent,
                               absl::string_view name = {});

// The first one, or null. `parent` may be null.
xmlNode* Child(const xmlNode* parent, absl::string_view name);

// The first <qemu:`name`>, or null.
xmlNode* QemuChild(const xmlNode* parent, absl::string_view name);

// The first child called `name` in the namespace `ns`, or null.
xmlNode* ChildIn(const xmlNode* parent, absl::string_view ns,
                 absl::string_view name);

// All attributes of `node`, which may be null, but no more than `limit`.
std::vector<std::pair<std::string, std::string>> AttributesOf(
    const xmlNode* node, size_t limit);

absl::string_view Name(const xmlNode* node);

// Empty if there is no such attribute, or no node.
std::string Attribute(const xmlNode* node, const char* name);
void SetAttribute(xmlNode* node, const char* name, absl::string_view value);

// The text in a node; empty for null.
std::string Text(const xmlNode* node);

// Adds an element without namespace (`ns` null) or in `ns`.
xmlNode* AddChild(xmlNode* parent, xmlNs* ns, const char* name);

// The first child called `name`; adds one if there is none.
xmlNode* ChildOrNew(xmlNode* parent, const char* name);

// The values of <qemu:arg> in <qemu:commandline>, with their nodes.
std::vector<std::pair<xmlNode*, std::string>> QemuArguments(
    const xmlNode* domain);

// Takes <qemu:commandline> out if nothing is in it.
void RemoveEmptyQemuCommandline(xmlNode* domain);

// The guest's NUMA cells.
std::vector<xmlNode*> NumaCells(const xmlNode* domain);

// Adds <qemu:arg>s to <qemu:commandline>, which is made if need be.
absl::Status AddQemuArguments(xmlNode* domain,
                              const std::vector<std::string>& values);

// Takes it out, with the blanks before it.
void Remove(xmlNode* node);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_XML_TREE_H_
