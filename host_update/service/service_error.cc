#include "host_update/service/service_error.h"

#include <string>

#include "base/status_code.h"
#include "host_update/service/host_update.pb.h"

namespace live_update {

grpc::Status ToGrpc(const absl::Status& status, absl::string_view remedy,
                    absl::string_view vms_now) {
  if (status.ok()) return grpc::Status::OK;
  v1::ErrorDetail detail;
  detail.set_code(CodeOf(status));
  if (detail.code().empty()) {
    detail.set_code(absl::StatusCodeToString(status.code()));
  }
  detail.set_remedy(std::string(remedy));
  detail.set_vms_now(std::string(vms_now));
  // Both count as google.rpc.Code does.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message()),
                      detail.SerializeAsString());
}

}  // namespace live_update
