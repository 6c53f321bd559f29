// Names that tell one host, one boot and one update from another.

#ifndef HOST_UPDATE_IDENTITY_H_
#define HOST_UPDATE_IDENTITY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace live_update {

// A fresh random UUID, from the kernel.
std::string NewUpdateId();

// The boot_id of this boot. Empty: the kernel does not tell.
std::string ThisBootId();

// The update counter: grows by one with each update that this host begins and
// is never reused, so that a handover of an earlier one is known as such. Lies
// in `state_dir`. 0 if no update was ever begun.
absl::StatusOr<uint64_t> ReadCounter(const std::string& state_dir,
                                     const std::string& name);
absl::Status WriteCounter(const std::string& state_dir, const std::string& name,
                          uint64_t value);

// Names of the two counters: updates begun, and the last one restored.
inline constexpr char kBegunCounter[] = "updates-begun";
inline constexpr char kRestoredCounter[] = "last-restored";

}  // namespace live_update

#endif  // HOST_UPDATE_IDENTITY_H_
