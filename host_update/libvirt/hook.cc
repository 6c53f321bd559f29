#include "host_update/libvirt/hook.h"

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "host_update/libvirt/domain_xml.h"

namespace live_update {

absl::StatusOr<std::string> XmlForRestore(absl::string_view xml,
                                          absl::string_view runtime_directory) {
  // Most domains never met a live update: their XML is not even parsed.
  if (!absl::StrContains(xml, runtime_directory)) return std::string();
  LU_ASSIGN_OR_RETURN(const DomainFacts facts, ReadDomainXml(xml));
  std::error_code error;
  if (std::filesystem::exists(absl::StrCat(runtime_directory, "/", facts.uuid),
                              error)) {
    return std::string();
  }
  return DomainXmlWithoutAdditions(xml, runtime_directory);
}

}  // namespace live_update
