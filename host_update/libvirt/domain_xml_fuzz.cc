// Domain XML of a hostile handover image: nothing but what libxml2 takes, and
// our additions come out again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "host_update/libvirt/domain_xml.h"

namespace live_update {
namespace {

constexpr char kDirectory[] = "/run/host-update/vm";
constexpr char kSocket[] = "/run/host-update/vm/x/qemu/cpr";

void Check(absl::string_view xml) {
  if (!ReadDomainXml(xml).ok()) return;
  const absl::StatusOr<std::string> once =
      DomainXmlForRestore(xml, kSocket, kDirectory);
  if (!once.ok()) return;
  const absl::StatusOr<std::string> without =
      DomainXmlWithoutAdditions(*once, kDirectory);
  if (!without.ok() || without->find(kSocket) != std::string::npos) {
    // The socket may stand in the XML in another place than ours.
    if (xml.find(kDirectory) == absl::string_view::npos) std::abort();
  }
}

}  // namespace
}  // namespace live_update

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  live_update::Check(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
