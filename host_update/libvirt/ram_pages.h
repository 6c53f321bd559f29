// How much of a guest's RAM lies in huge pages, as /proc/PID/smaps of its QEMU
// tells. Private to this folder.

#ifndef HOST_UPDATE_LIBVIRT_RAM_PAGES_H_
#define HOST_UPDATE_LIBVIRT_RAM_PAGES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "host_update/hypervisor.h"

namespace live_update {

// Of all mappings in `smaps` that lie in [address, address + size_bytes), added
// up: a block of RAM is several of them if its parts are treated differently.
// kNotFound: there is none. kInvalidArgument: not what smaps looks like, or
// numbers that can't be.
absl::StatusOr<RamPages> ParseRamPages(absl::string_view smaps,
                                       uint64_t address, uint64_t size_bytes);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_RAM_PAGES_H_
