// status: how this host stands between updates.

#ifndef HOST_UPDATE_STATUS_H_
#define HOST_UPDATE_STATUS_H_

#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// Changes nothing and takes no lock.
absl::StatusOr<HostStatus> ReadStatus(const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_STATUS_H_
