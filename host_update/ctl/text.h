// The API's messages as a person reads them. Not stable: scripts use --json.

#ifndef HOST_UPDATE_CTL_TEXT_H_
#define HOST_UPDATE_CTL_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "host_update/ctl/error.h"
#include "host_update/service/host_update.pb.h"

namespace live_update::ctl {

// Each ends with a newline, but ProgressText.
std::string HostText(const v1::HostInfo& info);
std::string VmsText(const v1::ListVmsResponse& vms);
std::string HistoryText(const v1::ListOperationsResponse& history);
std::string EventText(const v1::Event& event);
// The operation's report, or one sentence where it has none.
std::string OperationText(const v1::Operation& operation);
// What failed, what it means for the VMs, the next command.
std::string ErrorText(const Error& error);

// One line without control characters, cut to `columns`.
std::string ProgressText(const v1::Event& event, size_t columns);

// "[4/9] save", or the phase alone where it is none of an update's.
std::string PhaseText(absl::string_view phase);

// ToJson's output as one line.
std::string JsonLine(const google::protobuf::Message& message);

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_TEXT_H_
