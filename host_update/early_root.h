// What the new kernel has to do to have the root file system and the preserved
// memory where this kernel has them: the steps of early-init.

#ifndef HOST_UPDATE_EARLY_ROOT_H_
#define HOST_UPDATE_EARLY_ROOT_H_

#include <string>

#include "absl/status/statusor.h"
#include "host_update/early_init/steps.h"

namespace live_update {

// The program, as the package installs it.
inline constexpr char kEarlyInitPath[] = "/usr/lib/host-update/early-init";

// Reads /proc and /sys below `root` ("" but in tests). `preserved_directory`
// is mounted, too, if it lies in a file system of its own right below the root
// file system; else the ordinary boot does that.
//
// kFailedPrecondition: only an initramfs knows how to get there, and why: the
// root is not one whole file system on a disk or partition of its own driver
// (LVM, RAID, encryption, network, a subvolume), /usr is another file system,
// or early-init is not installed.
absl::StatusOr<EarlySteps> PlanEarlyRoot(
    const std::string& root, const std::string& preserved_directory);

}  // namespace live_update

#endif  // HOST_UPDATE_EARLY_ROOT_H_
