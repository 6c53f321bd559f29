// Where the operator leaves the key of handovers.

#ifndef HOST_UPDATE_CLI_OPERATOR_KEY_H_
#define HOST_UPDATE_CLI_OPERATOR_KEY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "state_preserve/handover_key.h"

namespace live_update {

// The key in the file `path`; if that is empty, in the file handover-key of
// `credentials_directory`, systemd's $CREDENTIALS_DIRECTORY or null. Null: the
// operator gave none. A key that is given but not usable is an error
// (HandoverKey::FromFile), not the same as none.
absl::StatusOr<std::shared_ptr<const HandoverKey>> LoadOperatorKey(
    const std::string& path, const char* credentials_directory);

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_OPERATOR_KEY_H_
