// What every handover image keeps to, beyond its layout: the writer refuses to
// write, and the reader to believe, what does not.

#ifndef STATE_PRESERVE_HANDOVER_RULES_H_
#define STATE_PRESERVE_HANDOVER_RULES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

// kInvalidArgument if not, with the field and the reason; so do all below.
absl::Status CheckHostRecord(const HostRecord& host);

// A VM with all its parts: names and sizes within the limits of format.h, RAM
// blocks named once, each either in place or in `auxiliary`, and the other way
// round.
absl::Status CheckVm(const VmRecord& vm, uint64_t device_state_bytes,
                     absl::Span<const AuxiliaryRam> auxiliary);

// Digests of blocks of `vm` that are in place, each block once; chunks inside
// their block and ascending, a digest for each; no more than the limits.
absl::Status CheckRamDigests(const RamDigests& digests, const VmRecord& vm);

// Extents ascending, inside the block, not overlapping.
absl::Status CheckAuxiliaryRam(const AuxiliaryRam& ram);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_RULES_H_
