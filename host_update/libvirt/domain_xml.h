// libvirt's domain XML: what a live update must know from it, and what it adds
// for the restore.
//
// Functions of text, over libxml2. The XML comes from libvirt or from a
// handover image: no network, no DTD, at most 4 MiB. Every function returns
// kInvalidArgument for what is not such a document.

#ifndef HOST_UPDATE_LIBVIRT_DOMAIN_XML_H_
#define HOST_UPDATE_LIBVIRT_DOMAIN_XML_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

// Of what a VM's metadata say to us.
inline constexpr char kPolicyNamespace[] = "urn:host-update:policy:1";

inline constexpr size_t kMaxXmlBytes = size_t{4} << 20;

struct DomainFacts {
  std::string name;
  std::string uuid;
  std::string machine_type;  // "pc-q35-10.0"
  std::string type;          // "kvm"
  std::string arch;          // "x86_64"
  std::string emulator;      // "/usr/bin/qemu-system-x86_64"
  std::string
      memory_source;  // "memfd", "file", "anonymous"; empty: none given.
  // All RAM by <memoryBacking><access> or by the NUMA cells' memAccess.
  bool shared_memory = false;
  bool hugepages = false;
  uint64_t memory_bytes = 0;  // All of it, DIMMs as well.
  // The RAM blocks that a VM can't do without, by QEMU's names. (DIMMs are not
  // among them: their names aren't in the XML.)
  std::vector<std::string> ram_blocks;
  // -machine aux-ram-share=on is in <qemu:commandline>. QEMU knows for certain.
  bool aux_ram_share = false;
  // As VmFacts has it.
  std::vector<std::string> unsupported;
  // Host network interfaces that must be there: bridges, and what a macvtap
  // stands on. Without duplicates.
  std::vector<std::string> host_interfaces;
  // Attributes of <policy> of kPolicyNamespace in <metadata>, at most 16.
  std::vector<std::pair<std::string, std::string>> policy;
};

absl::StatusOr<DomainFacts> ReadDomainXml(absl::string_view xml);

// The XML with which libvirt starts a QEMU that waits for its RAM at
// `cpr_socket`:
//  - all RAM comes from memfd and is shared (NUMA cells keep their memAccess),
//    and is not allocated in advance: that would touch each page in the
//    blackout;
//  - <qemu:commandline> has -incoming with the cpr channel.
// Earlier additions of that kind, known by a socket below `own_directory`, are
// taken out first, so that the function can be applied to its own result.
absl::StatusOr<std::string> DomainXmlForRestore(
    absl::string_view xml, absl::string_view cpr_socket,
    absl::string_view own_directory);

// `xml`, as libvirt writes it for migration, with the CPU of `live_xml`, which
// says feature by feature what the guest sees. Where a VM was defined with the
// host's model, the former says only that: another kernel would offer, and the
// restored guest get, another CPU than it runs on.
absl::StatusOr<std::string> DomainXmlWithLiveCpu(absl::string_view xml,
                                                 absl::string_view live_xml);

// The state of the guest agent's channel in a live definition: "connected",
// "disconnected", or empty if libvirt does not know it. kNotFound: there is no
// such channel.
absl::StatusOr<std::string> GuestAgentState(absl::string_view xml);

// The XML without our -incoming: what a VM that we have restored once should be
// described with. Memory stays memfd, which is what it is then.
absl::StatusOr<std::string> DomainXmlWithoutAdditions(
    absl::string_view xml, absl::string_view own_directory);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_DOMAIN_XML_H_
