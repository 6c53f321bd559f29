// libvirt's errors as absl::Status.

#ifndef HOST_UPDATE_LIBVIRT_LIBVIRT_ERROR_H_
#define HOST_UPDATE_LIBVIRT_LIBVIRT_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace live_update {

// The reason of the last libvirt call of this thread that failed: `what`, then
// libvirt's message. kNotFound: no such domain; kAlreadyExists;
// kFailedPrecondition: not in the state the domain is in; kDeadlineExceeded:
// libvirt itself waited too long; kUnimplemented: the driver can't;
// kUnavailable: no connection to the daemon, or from it to the guest agent;
// kPermissionDenied; kInvalidArgument; else kInternal.
absl::Status LastLibvirtError(absl::string_view what);

// The code for a virErrorNumber that came from a virErrorDomain.
absl::StatusCode CodeOfLibvirtError(int number, int domain);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_LIBVIRT_ERROR_H_
