#include "host_update/libvirt/xml_tree.h"

#include <libxml/parser.h>
#include <libxml/xmlerror.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "host_update/libvirt/domain_xml.h"

namespace live_update {
namespace {

absl::string_view View(const xmlChar* text) {
  return text == nullptr
             ? absl::string_view()
             : absl::string_view(reinterpret_cast<const char*>(text));
}

const xmlChar* XmlText(const char* text) {
  return reinterpret_cast<const xmlChar*>(text);
}

// Takes over what libxml2 allocated.
std::string Take(xmlChar* text) {
  std::string copy(View(text));
  xmlFree(text);
  return copy;
}

std::string LastReason() {
  const xmlError* const error = xmlGetLastError();
  if (error == nullptr || error->message == nullptr) return "not well-formed";
  return absl::StrCat("line ", error->line, ": ",
                      absl::StripTrailingAsciiWhitespace(error->message));
}

}  // namespace

absl::StatusOr<XmlDoc> ParseDomain(absl::string_view xml) {
  // Once, before threads parse side by side.
  static const bool initialised = [] {
    xmlInitParser();
    return true;
  }();
  (void)initialised;
  if (xml.size() > kMaxXmlBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "domain XML of ", xml.size(), " bytes, more than ", kMaxXmlBytes));
  }
  xmlResetLastError();
  const std::unique_ptr<xmlParserCtxt, void (*)(xmlParserCtxt*)> parser(
      xmlNewParserCtxt(), xmlFreeParserCtxt);
  if (parser == nullptr) {
    return absl::ResourceExhaustedError("domain XML: no memory for a parser");
  }
  XmlDoc doc(xmlCtxtReadMemory(
      parser.get(), xml.data(), static_cast<int>(xml.size()), "domain.xml",
      nullptr, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING));
  // libxml2 goes on with a prefix that nothing declares; what we add might
  // declare it.
  if (doc == nullptr || parser->nsWellFormed == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("domain XML: ", LastReason()));
  }
  if (doc->intSubset != nullptr || doc->extSubset != nullptr) {
    return absl::InvalidArgumentError("domain XML: has a DTD");
  }
  const xmlNode* const root = xmlDocGetRootElement(doc.get());
  if (root == nullptr || Name(root) != "domain") {
    return absl::InvalidArgumentError("domain XML: the root is not <domain>");
  }
  return doc;
}

std::string ToString(const XmlDoc& doc) {
  const std::unique_ptr<xmlBuffer, void (*)(xmlBuffer*)> buffer(
      xmlBufferCreate(), xmlBufferFree);
  xmlNodeDump(buffer.get(), doc.get(), xmlDocGetRootElement(doc.get()),
              /*level=*/0, /*format=*/1);
  return std::string(View(xmlBufferContent(buffer.get())));
}

std::vector<xmlNode*> Children(const xmlNode* parent, absl::string_view name) {
  std::vector<xmlNode*> children;
  for (xmlNode* node = parent == nullptr ? nullptr : parent->children;
       node != nullptr; node = node->next) {
    if (node->type == XML_ELEMENT_NODE && node->ns == nullptr &&
        (name.empty() || Name(node) == name)) {
      children.push_back(node);
    }
  }
  return children;
}

xmlNode* Child(const xmlNode* parent, absl::string_view name) {
  const std::vector<xmlNode*> children = Children(parent, name);
  return children.empty() ? nullptr : children.front();
}

xmlNode* ChildIn(const xmlNode* parent, absl::string_view ns,
                 absl::string_view name) {
  if (parent == nullptr) return nullptr;
  for (xmlNode* node = parent->children; node != nullptr; node = node->next) {
    if (node->type == XML_ELEMENT_NODE && node->ns != nullptr &&
        View(node->ns->href) == ns && Name(node) == name) {
      return node;
    }
  }
  return nullptr;
}

xmlNode* QemuChild(const xmlNode* parent, absl::string_view name) {
  return ChildIn(parent, kQemuNamespace, name);
}

std::vector<std::pair<std::string, std::string>> AttributesOf(
    const xmlNode* node, size_t limit) {
  std::vector<std::pair<std::string, std::string>> attributes;
  if (node == nullptr) return attributes;
  for (const xmlAttr* attribute = node->properties;
       attribute != nullptr && attributes.size() < limit;
       attribute = attribute->next) {
    attributes.emplace_back(View(attribute->name),
                            Take(xmlNodeGetContent(attribute->children)));
  }
  return attributes;
}

absl::string_view Name(const xmlNode* node) { return View(node->name); }

std::string Attribute(const xmlNode* node, const char* name) {
  if (node == nullptr) return "";
  return Take(xmlGetNoNsProp(node, XmlText(name)));
}

void SetAttribute(xmlNode* node, const char* name, absl::string_view value) {
  xmlSetProp(node, XmlText(name), XmlText(std::string(value).c_str()));
}

std::string Text(const xmlNode* node) {
  if (node == nullptr) return "";
  return Take(xmlNodeGetContent(node));
}

xmlNode* AddChild(xmlNode* parent, xmlNs* ns, const char* name) {
  // Blanks at the end would stand between the children then, and stay when a
  // child goes: the same text must come out however often this was done.
  if (xmlNode* const last = parent->last;
      last != nullptr && xmlIsBlankNode(last) == 1) {
    xmlUnlinkNode(last);
    xmlFreeNode(last);
  }
  xmlNode* const node = xmlNewChild(parent, ns, XmlText(name), nullptr);
  // Without a namespace of its own a child inherits its parent's.
  if (ns == nullptr) xmlSetNs(node, nullptr);
  return node;
}

std::vector<std::pair<xmlNode*, std::string>> QemuArguments(
    const xmlNode* domain) {
  std::vector<std::pair<xmlNode*, std::string>> arguments;
  const xmlNode* const line = QemuChild(domain, "commandline");
  if (line == nullptr) return arguments;
  for (xmlNode* node = line->children; node != nullptr; node = node->next) {
    if (node->type == XML_ELEMENT_NODE && Name(node) == "arg") {
      arguments.emplace_back(node, Attribute(node, "value"));
    }
  }
  return arguments;
}

void RemoveEmptyQemuCommandline(xmlNode* domain) {
  xmlNode* const line = QemuChild(domain, "commandline");
  if (line != nullptr && xmlChildElementCount(line) == 0) Remove(line);
}

xmlNode* ChildOrNew(xmlNode* parent, const char* name) {
  xmlNode* const child = Child(parent, name);
  return child != nullptr ? child : AddChild(parent, nullptr, name);
}

std::vector<xmlNode*> NumaCells(const xmlNode* domain) {
  return Children(Child(Child(domain, "cpu"), "numa"), "cell");
}

absl::Status AddQemuArguments(xmlNode* domain,
                              const std::vector<std::string>& values) {
  const auto* const href = reinterpret_cast<const xmlChar*>(kQemuNamespace);
  xmlNs* ns = xmlSearchNsByHref(domain->doc, domain, href);
  // The prefix is free to choose, but may be taken by another namespace.
  for (const char* prefix : {"qemu", "host-update-qemu"}) {
    if (ns == nullptr) {
      ns = xmlNewNs(domain, href, reinterpret_cast<const xmlChar*>(prefix));
    }
  }
  if (ns == nullptr) {
    return absl::InvalidArgumentError(
        "domain XML: no room for QEMU's namespace");
  }
  xmlNode* line = QemuChild(domain, "commandline");
  if (line == nullptr) line = AddChild(domain, ns, "commandline");
  for (const std::string& value : values) {
    SetAttribute(AddChild(line, ns, "arg"), "value", value);
  }
  return absl::OkStatus();
}

void Remove(xmlNode* node) {
  xmlNode* const before = node->prev;
  if (before != nullptr && xmlIsBlankNode(before) == 1) {
    xmlUnlinkNode(before);
    xmlFreeNode(before);
  }
  xmlUnlinkNode(node);
  xmlFreeNode(node);
}

}  // namespace live_update
