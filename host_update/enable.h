// enable: puts what an update in place needs into a VM's persistent definition.

#ifndef HOST_UPDATE_ENABLE_H_
#define HOST_UPDATE_ENABLE_H_

#include <string>

#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"

namespace live_update {

struct EnableRequest {
  std::string vm;  // Name or UUID.
  bool undo = false;
  bool dry_run = false;
  std::string backend = "dax";  // Which decides where RAM is to come from.
};

// What runs is left alone: the change holds from the VM's next start. The
// definition as it was is kept in the state directory, for the undo, which
// changes back what this changed and nothing else. kNotFound: there is no such
// VM, or nothing to undo.
absl::StatusOr<EnableReport> EnableVm(const EnableRequest& request,
                                      const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_ENABLE_H_
