// Errors as a client gets them.

#ifndef HOST_UPDATE_SERVICE_SERVICE_ERROR_H_
#define HOST_UPDATE_SERVICE_SERVICE_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/status.h"

namespace live_update {

// The gRPC status of `status`, whose code (CodeOf; else made from the canonical
// one), `remedy` and `vms_now` go along as an ErrorDetail.
grpc::Status ToGrpc(const absl::Status& status, absl::string_view remedy,
                    absl::string_view vms_now);

// What holds for every error before anything was begun.
inline constexpr char kNothingTouched[] = "nothing was touched: VMs run on";

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_SERVICE_ERROR_H_
