// Where a rollback goes.

#ifndef HOST_UPDATE_CTL_ROLLBACK_H_
#define HOST_UPDATE_CTL_ROLLBACK_H_

#include <string>

#include "absl/time/time.h"
#include "host_update/ctl/client.h"

namespace live_update::ctl {

struct RollbackTarget {
  std::string kernel;
  std::string initrd;
  std::string release;    // Of that kernel.
  std::string update_id;  // The update that came from it.
};

// The kernel that the last successful update came from, by the names that
// Debian gives its files. Errors: NO_UPDATE (nothing to do), or a call's.
Reply<RollbackTarget> FindRollbackTarget(Client& client, absl::Time deadline);

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_ROLLBACK_H_
