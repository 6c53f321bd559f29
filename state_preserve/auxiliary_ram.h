// Contents of a VM's small RAM blocks (firmware, ROMs, video RAM), which are
// not preserved in place but travel in the image, without their zeroes.

#ifndef STATE_PRESERVE_AUXILIARY_RAM_H_
#define STATE_PRESERVE_AUXILIARY_RAM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// Reads [0, size_bytes) of the memory behind `fd` (a memfd or a file; QEMU's,
// so not trusted to keep its size). Pages of zeroes are left out, holes are not
// even read. kOutOfRange: it is shorter. kResourceExhausted: more than an image
// takes (format.h).
absl::StatusOr<AuxiliaryRam> ReadAuxiliaryRam(const UniqueFd& fd,
                                              absl::string_view name,
                                              uint64_t size_bytes);

// A new memfd with these contents, for a QEMU to come.
absl::StatusOr<UniqueFd> WriteAuxiliaryRam(const AuxiliaryRam& ram);

}  // namespace live_update

#endif  // STATE_PRESERVE_AUXILIARY_RAM_H_
