// Who decides for callers that are neither root nor in the group: polkit.

#ifndef HOST_UPDATE_SERVICE_AUTHORITY_H_
#define HOST_UPDATE_SERVICE_AUTHORITY_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "host_update/service/caller.h"

namespace live_update {

struct AuthorityQuestion {
  std::string call;  // "Execute"
  bool may_prompt = false;
  absl::Duration patience;  // For the answer, if it is a person's.
  // Looked at now and then: nobody waits for the answer any more.
  std::function<bool()> is_cancelled = [] { return false; };
};

// OK: `caller` may do it. Anything else: he may not, and the message says why
// he may not, or why nobody could say. It is called by several threads at once.
using Authority = std::function<absl::Status(
    const Caller& caller, const AuthorityQuestion& question)>;

// Asks polkit on the system's bus, whose address $DBUS_SYSTEM_BUS_ADDRESS may
// give. kPermissionDenied: it said no, or the caller has ended; other codes: it
// was not there, did not answer in time, or failed.
absl::Status AskPolkit(const Caller& caller, const AuthorityQuestion& question);

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_AUTHORITY_H_
