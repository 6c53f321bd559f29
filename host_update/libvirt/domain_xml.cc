#include "host_update/libvirt/domain_xml.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "host_update/libvirt/xml_tree.h"
#include "host_update/qemu/qmp.h"

namespace live_update {
namespace {

constexpr size_t kMostPolicyAttributes = 16;

bool IsOneOf(absl::string_view text,
             std::initializer_list<absl::string_view> list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// "a b" of those parts that are not empty.
std::string Words(std::initializer_list<absl::string_view> parts) {
  std::string words;
  for (const absl::string_view part : parts) {
    if (!part.empty()) absl::StrAppend(&words, words.empty() ? "" : " ", part);
  }
  return words;
}

// "0000:3b:00.0"; empty if it has no PCI address.
std::string PciAddress(const xmlNode* address) {
  if (address == nullptr || Attribute(address, "slot").empty()) return "";
  const auto digits = [address](const char* name) {
    const std::string value = Attribute(address, name);
    return value.substr(absl::StartsWith(value, "0x") ? 2 : 0);
  };
  return absl::StrCat(digits("domain"), ":", digits("bus"), ":", digits("slot"),
                      ".", digits("function"));
}

std::string HostDevice(const xmlNode* device) {
  const xmlNode* const source = Child(device, "source");
  const xmlNode* const address = Child(source, "address");
  return Words({"hostdev", Attribute(device, "type"), PciAddress(address),
                Attribute(address, "uuid")});
}

void AddUnsupportedDisk(const xmlNode* disk, std::vector<std::string>& out) {
  const std::string type = Attribute(disk, "type");
  const std::string target = Attribute(Child(disk, "target"), "dev");
  if (IsOneOf(type, {"vhostuser", "vhostvdpa"})) {
    out.push_back(Words({"disk", type, target}));
  }
  if (Child(disk, "transient") != nullptr) {
    out.push_back(Words({"disk", target, "transient"}));
  }
}

void AddUnsupportedInterface(const xmlNode* interface,
                             std::vector<std::string>& out) {
  const std::string type = Attribute(interface, "type");
  const std::string backend = Attribute(Child(interface, "backend"), "type");
  const std::string mac = Attribute(Child(interface, "mac"), "address");
  if (IsOneOf(type, {"hostdev", "vdpa", "vhostuser"})) {
    out.push_back(Words({"interface", type, mac}));
  } else if (backend == "passt") {
    out.push_back(Words({"interface", type, backend, mac}));
  }
}

void AddUnsupportedDevice(const xmlNode* device,
                          std::vector<std::string>& out) {
  const absl::string_view name = Name(device);
  if (name == "hostdev") {
    out.push_back(HostDevice(device));
  } else if (name == "disk") {
    AddUnsupportedDisk(device, out);
  } else if (name == "interface") {
    AddUnsupportedInterface(device, out);
  } else if (name == "filesystem") {
    const std::string driver = Attribute(Child(device, "driver"), "type");
    out.push_back(Words({"filesystem", driver.empty() ? "9p" : driver,
                         Attribute(Child(device, "target"), "dir")}));
  } else if (name == "shmem") {
    out.push_back(Words({"shmem", Attribute(device, "name")}));
  } else if (name == "tpm") {
    const std::string type = Attribute(Child(device, "backend"), "type");
    if (type != "emulator") out.push_back(Words({"tpm", type}));
  } else if (name == "memory") {
    // A DIMM is RAM like any other. The rest has state of its own outside of
    // QEMU's stream, or memory that is not the guest's RAM.
    const std::string model = Attribute(device, "model");
    if (model != "dimm") out.push_back(Words({"memory", model}));
  } else if (name == "lease") {
    out.push_back(Words({"lease", Text(Child(device, "key"))}));
  } else if (name == "crypto") {
    out.push_back(Words({"crypto", Attribute(device, "model")}));
  }
}

std::vector<std::string> Unsupported(const xmlNode* domain) {
  std::vector<std::string> unsupported;
  const xmlNode* const security = Child(domain, "launchSecurity");
  if (security != nullptr) {
    unsupported.push_back(
        Words({"launchSecurity", Attribute(security, "type")}));
  }
  if (Child(Child(domain, "memoryBacking"), "hugepages") != nullptr) {
    unsupported.push_back("memoryBacking hugepages");
  }
  for (const xmlNode* device : Children(Child(domain, "devices"))) {
    AddUnsupportedDevice(device, unsupported);
  }
  return unsupported;
}

std::vector<std::string> HostInterfaces(const xmlNode* domain) {
  std::vector<std::string> interfaces;
  for (const xmlNode* interface :
       Children(Child(domain, "devices"), "interface")) {
    const xmlNode* const source = Child(interface, "source");
    for (const char* attribute : {"bridge", "dev"}) {
      std::string name = Attribute(source, attribute);
      // A vdpa's "dev" is a path.
      if (name.empty() || absl::StrContains(name, "/") ||
          std::find(interfaces.begin(), interfaces.end(), name) !=
              interfaces.end()) {
        continue;
      }
      interfaces.push_back(std::move(name));
    }
  }
  return interfaces;
}

bool SharesAllMemory(const xmlNode* domain) {
  const bool by_default =
      Attribute(Child(Child(domain, "memoryBacking"), "access"), "mode") ==
      "shared";
  const std::vector<xmlNode*> cells = NumaCells(domain);
  if (cells.empty()) return by_default;
  return std::all_of(cells.begin(), cells.end(), [=](const xmlNode* cell) {
    const std::string access = Attribute(cell, "memAccess");
    return access.empty() ? by_default : access == "shared";
  });
}

// Of <memory unit='…'>; 0 if it can't be understood.
uint64_t MemoryBytes(const xmlNode* domain) {
  const xmlNode* const memory = Child(domain, "memory");
  uint64_t amount = 0;
  // libvirt itself writes KiB always.
  const std::string unit = Attribute(memory, "unit");
  if (!absl::SimpleAtoi(Text(memory), &amount) ||
      amount > (uint64_t{1} << 40) || !IsOneOf(unit, {"", "KiB"})) {
    return 0;
  }
  return amount << 10;
}

std::vector<std::string> RamBlocks(const xmlNode* domain) {
  std::vector<std::string> blocks;
  const std::vector<xmlNode*> cells = NumaCells(domain);
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string id = Attribute(cells[i], "id");
    blocks.push_back(
        absl::StrCat("ram-node", id.empty() ? absl::StrCat(i) : id));
  }
  const xmlNode* const type = Child(Child(domain, "os"), "type");
  if (cells.empty() && IsOneOf(Attribute(type, "arch"), {"x86_64", "i686"})) {
    blocks.push_back("pc.ram");
  }
  return blocks;
}

bool AsksForSharedAuxiliaryRam(const xmlNode* domain) {
  const auto arguments = QemuArguments(domain);
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (IsOneOf(arguments[i - 1].second, {"-machine", "-M"}) &&
        absl::StrContains(arguments[i].second, "aux-ram-share=on")) {
      return true;
    }
  }
  return false;
}

void RemoveAdditions(xmlNode* domain, absl::string_view own_directory) {
  const std::string mark = absl::StrCat("\"", own_directory, "/");
  const auto arguments = QemuArguments(domain);
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i - 1].second == "-incoming" &&
        absl::StrContains(arguments[i].second, mark)) {
      Remove(arguments[i - 1].first);
      Remove(arguments[i].first);
    }
  }
  RemoveEmptyQemuCommandline(domain);
}

void TakeMemoryFromMemfd(xmlNode* domain) {
  xmlNode* const backing = ChildOrNew(domain, "memoryBacking");
  SetAttribute(ChildOrNew(backing, "source"), "type", "memfd");
  if (xmlNode* const allocation = Child(backing, "allocation")) {
    Remove(allocation);
  }
  if (SharesAllMemory(domain)) return;
  SetAttribute(ChildOrNew(backing, "access"), "mode", "shared");
}

}  // namespace

absl::StatusOr<DomainFacts> ReadDomainXml(absl::string_view xml) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  const xmlNode* const domain = xmlDocGetRootElement(doc.get());
  const xmlNode* const backing = Child(domain, "memoryBacking");
  DomainFacts facts;
  facts.name = Text(Child(domain, "name"));
  facts.uuid = Text(Child(domain, "uuid"));
  const xmlNode* const machine = Child(Child(domain, "os"), "type");
  facts.machine_type = Attribute(machine, "machine");
  facts.arch = Attribute(machine, "arch");
  facts.type = Attribute(domain, "type");
  facts.emulator = Text(Child(Child(domain, "devices"), "emulator"));
  facts.memory_source = Attribute(Child(backing, "source"), "type");
  facts.shared_memory = SharesAllMemory(domain);
  facts.memory_bytes = MemoryBytes(domain);
  facts.ram_blocks = RamBlocks(domain);
  facts.hugepages = Child(backing, "hugepages") != nullptr;
  facts.aux_ram_share = AsksForSharedAuxiliaryRam(domain);
  facts.unsupported = Unsupported(domain);
  facts.host_interfaces = HostInterfaces(domain);
  facts.policy = AttributesOf(
      ChildIn(Child(domain, "metadata"), kPolicyNamespace, "policy"),
      kMostPolicyAttributes);
  return facts;
}

absl::StatusOr<std::string> DomainXmlForRestore(
    absl::string_view xml, absl::string_view cpr_socket,
    absl::string_view own_directory) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  xmlNode* const domain = xmlDocGetRootElement(doc.get());
  RemoveAdditions(domain, own_directory);
  TakeMemoryFromMemfd(domain);
  LU_RETURN_IF_ERROR(
      AddQemuArguments(domain, {"-incoming", IncomingCprChannel(cpr_socket)}));
  return ToString(doc);
}

absl::StatusOr<std::string> DomainXmlWithLiveCpu(absl::string_view xml,
                                                 absl::string_view live_xml) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  LU_ASSIGN_OR_RETURN(const XmlDoc live, ParseDomain(live_xml));
  xmlNode* const root = xmlDocGetRootElement(doc.get());
  xmlNode* const cpu = Child(xmlDocGetRootElement(live.get()), "cpu");
  if (cpu == nullptr) return ToString(doc);
  if (xmlNode* const replaced = Child(root, "cpu")) Remove(replaced);
  xmlAddChild(root, xmlDocCopyNode(cpu, doc.get(), /*recursive=*/1));
  return ToString(doc);
}

absl::StatusOr<std::string> DomainXmlWithoutAdditions(
    absl::string_view xml, absl::string_view own_directory) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  RemoveAdditions(xmlDocGetRootElement(doc.get()), own_directory);
  return ToString(doc);
}

absl::StatusOr<std::string> GuestAgentState(absl::string_view xml) {
  LU_ASSIGN_OR_RETURN(const XmlDoc doc, ParseDomain(xml));
  const xmlNode* const devices =
      Child(xmlDocGetRootElement(doc.get()), "devices");
  if (devices != nullptr) {
    for (const xmlNode* const channel : Children(devices, "channel")) {
      const xmlNode* const target = Child(channel, "target");
      if (Attribute(target, "name") == "org.qemu.guest_agent.0") {
        return Attribute(target, "state");
      }
    }
  }
  return absl::NotFoundError("the VM has no channel for a guest agent");
}

}  // namespace live_update
