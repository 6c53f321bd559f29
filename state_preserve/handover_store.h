// The handover images that lie in a DAX file system, for support to look at.
// Reads only: what the service finds there afterwards is as it was.

#ifndef STATE_PRESERVE_HANDOVER_STORE_H_
#define STATE_PRESERVE_HANDOVER_STORE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state_preserve/handover_reader.h"

namespace live_update {

// Paths of the images of all sets in the store of `mount`: the outgoing one
// first, then incoming ones by name. Not whether they are any good. kNotFound:
// `mount` has no store; others by errno.
absl::StatusOr<std::vector<std::string>> FindHandovers(
    const std::string& mount);

// Whether the RAM of `vm`, which lies in its set beside the image at
// `image_path`, is what its digests say; OK if it has none. To be asked of a VM
// that does not run. kNotFound: a block's file is not there. kDataLoss: it is
// not what it was; others by errno.
absl::Status VerifyStoredRam(const std::string& image_path,
                             const IncomingVm& vm, size_t threads);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_STORE_H_
