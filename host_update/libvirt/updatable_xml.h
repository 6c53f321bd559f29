// What a VM's persistent definition needs so that its RAM can be kept in place.
// Functions of text, as domain_xml.h.

#ifndef HOST_UPDATE_LIBVIRT_UPDATABLE_XML_H_
#define HOST_UPDATE_LIBVIRT_UPDATABLE_XML_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

// `xml` as the functions below write it: where their result differs from this,
// they changed something.
absl::StatusOr<std::string> NormalizedDomainXml(absl::string_view xml);

// `xml` with all RAM shared and from `memory_source` ("file" or "memfd"), and
// QEMU's small blocks shared as well (-machine aux-ram-share=on). Applied to
// its own result it changes nothing. kFailedPrecondition: the VM has hugepages,
// which would have to go.
absl::StatusOr<std::string> UpdatableDomainXml(absl::string_view xml,
                                               absl::string_view memory_source);

// `xml` with what UpdatableDomainXml changes as it is in `original`; all else
// stays.
absl::StatusOr<std::string> DomainXmlAsBefore(absl::string_view xml,
                                              absl::string_view original);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_UPDATABLE_XML_H_
