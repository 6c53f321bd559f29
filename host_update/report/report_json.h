// The stable output: protobuf JSON of report.proto's messages.

#ifndef HOST_UPDATE_REPORT_REPORT_JSON_H_
#define HOST_UPDATE_REPORT_REPORT_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

namespace live_update {

// JSON with the field names of report.proto, every field present, and a newline
// at the end.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message);

}  // namespace live_update

#endif  // HOST_UPDATE_REPORT_REPORT_JSON_H_
