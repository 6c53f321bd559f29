// What libvirt's qemu hook (/etc/libvirt/hooks/qemu.d/host-update) decides.

#ifndef HOST_UPDATE_LIBVIRT_HOOK_H_
#define HOST_UPDATE_LIBVIRT_HOOK_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

// The XML with which libvirt should restore, or take in, a domain that asks for
// `xml`; empty: as it is. A VM that was restored by a live update carries the
// -incoming of that restore in its live definition, and so do its save images
// and migrations: QEMU would wait there for a peer that does not come. Our own
// restore, known by its folder below `runtime_directory`, keeps it.
absl::StatusOr<std::string> XmlForRestore(absl::string_view xml,
                                          absl::string_view runtime_directory);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_HOOK_H_
