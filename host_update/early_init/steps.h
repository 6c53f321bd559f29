// What early-init does in the first boot after an update, as the old kernel
// wrote it down. Without Abseil: early-init is a static program that is part of
// each staged initrd.

#ifndef HOST_UPDATE_EARLY_INIT_STEPS_H_
#define HOST_UPDATE_EARLY_INIT_STEPS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace live_update {

// Where both lie in the initrd; the kernel is told the first by rdinit=.
inline constexpr char kEarlyInitInInitrd[] = "host-update/early-init";
inline constexpr char kEarlyStepsInInitrd[] = "host-update/early-steps";
inline constexpr size_t kMaxEarlySteps = size_t{64} << 10;  // Bytes.

// Arguments of mount(2).
struct EarlyMount {
  uint64_t flags = 0;
  std::string type;       // "ext4"
  std::string device;     // "/dev/vda1"
  std::string directory;  // As in the host: "/", "/var/lib/host-update/ram".
  std::string data;       // "errors=remount-ro"; may be empty.
};

// A file of the root file system that no other one has: its inode number and
// when it was changed last, which no copy keeps.
struct EarlyIdentity {
  std::string path;
  uint64_t inode = 0;
  int64_t changed_s = 0;
  int64_t changed_ns = 0;
};

struct EarlySteps {
  std::vector<std::string> modules;  // To be loaded, in this order.
  EarlyIdentity identity;
  std::vector<EarlyMount> mounts;  // The first is the root file system, "/".
};

// One line per step. Only what ParseEarlySteps takes comes back from it.
std::string FormatEarlySteps(const EarlySteps& steps);

// Unset if `text` is anything else than what FormatEarlySteps writes of steps
// that have a root and an identity.
std::optional<EarlySteps> ParseEarlySteps(std::string_view text);

}  // namespace live_update

#endif  // HOST_UPDATE_EARLY_INIT_STEPS_H_
