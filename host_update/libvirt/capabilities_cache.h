// libvirt's cache of what each QEMU can do, kept valid over a change of kernel.
//
// libvirtd asks each installed QEMU at its start, seconds for each, unless its
// cache has the answers and they were given under the kernel that runs (libvirt
// 11.3, src/qemu/qemu_capabilities.c, virQEMUCapsIsValid). After a live update
// VMs would wait for that. They need none of it anew: QEMU is the same, and
// whether KVM still offers what their CPUs have QEMU itself says as it loads
// their state. What VMs that start later need is asked again afterwards
// (host-update-libvirt-again.service).

#ifndef HOST_UPDATE_LIBVIRT_CAPABILITIES_CACHE_H_
#define HOST_UPDATE_LIBVIRT_CAPABILITIES_CACHE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

inline constexpr char kCapabilitiesDirectory[] =
    "/var/cache/libvirt/qemu/capabilities";

// Puts `kernel` (release, a space, version, as uname(2) has them) in the place
// of another kernel in all files of `directory`, for a libvirtd that starts
// later: one that runs has read them. Returns the paths of the files that were
// changed. Files that can't be read as libvirt writes them, or are not
// `owner`'s, stay as they are, with a warning. kNotFound: no such directory;
// kPermissionDenied: it is not `owner`'s. After a failure some files may have
// been changed, each as a whole: that only saves or costs libvirtd its
// questions.
absl::StatusOr<std::vector<std::string>> KeepCapabilities(
    const std::string& directory, absl::string_view kernel, unsigned owner = 0);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_CAPABILITIES_CACHE_H_
