// Early restore: the new kernel's first boot brings the VMs back before
// anything else is started, and the ordinary boot follows
// (packaging/README.md, "The first boot").

#ifndef HOST_UPDATE_EARLY_RESTORE_H_
#define HOST_UPDATE_EARLY_RESTORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "host_update/early_init/steps.h"
#include "host_update/host_facts.h"

namespace live_update {

// Words of the target's command line for its first boot alone. Empty, and the
// boot is an ordinary one: if that was asked for, if the systemd target of the
// early restore is not installed, or if the command line or `request.append`
// names another target or masks the restore.
std::string FirstBootWords(const UpdateRequest& request, const HostFacts& host);

// The word of the command line that starts early-init
// (early_init/early_init.cc) in place of the target's own initramfs.
inline constexpr char kEarlyRootWord[] = "rdinit=/host-update/early-init";

// The steps by which early-init brings the first boot to its root file system.
// kFailedPrecondition: the initramfs does that, with the reason.
absl::StatusOr<EarlySteps> DecideEarlyRoot(const UpdateRequest& request,
                                           const HostFacts& host);

// The target's initrd with early-init and `steps` in front. The caller owns it.
absl::StatusOr<UniqueFd> WithEarlyInit(const UniqueFd& initrd,
                                       const EarlySteps& steps,
                                       const Paths& paths);

// Lets the ordinary boot go on: nothing needs to wait for the restore any more.
// Of no effect in a boot that did not begin with it.
absl::Status LetBootGoOn(const Paths& paths);

}  // namespace live_update

#endif  // HOST_UPDATE_EARLY_RESTORE_H_
