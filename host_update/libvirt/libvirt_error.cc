#include "host_update/libvirt/libvirt_error.h"

#include <libvirt/virterror.h>

#include "absl/strings/str_cat.h"

namespace live_update {

namespace {

// VIR_ERR_AGENT_COMMAND_TIMEOUT, newer than the headers.
constexpr int kAgentCommandTimeout = 112;

}  // namespace

absl::StatusCode CodeOfLibvirtError(int number, int domain) {
  switch (number) {
    case VIR_ERR_NO_DOMAIN:
      return absl::StatusCode::kNotFound;
    case VIR_ERR_DOM_EXIST:
      return absl::StatusCode::kAlreadyExists;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_RESOURCE_BUSY:
    case VIR_ERR_BLOCK_COPY_ACTIVE:
      return absl::StatusCode::kFailedPrecondition;
    case VIR_ERR_OPERATION_TIMEOUT:
    case kAgentCommandTimeout:
      return absl::StatusCode::kDeadlineExceeded;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
      return absl::StatusCode::kUnimplemented;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_NO_SERVER:
    case VIR_ERR_AGENT_UNRESPONSIVE:
      return absl::StatusCode::kUnavailable;
    case VIR_ERR_SYSTEM_ERROR:  // "Failed to connect socket to '…'", or a disk.
      return domain == VIR_FROM_RPC ? absl::StatusCode::kUnavailable
                                    : absl::StatusCode::kInternal;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
      return absl::StatusCode::kPermissionDenied;
    case VIR_ERR_INVALID_ARG:
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status LastLibvirtError(absl::string_view what) {
  const virError* const error = virGetLastError();
  if (error == nullptr) {
    return absl::InternalError(absl::StrCat(what, ": libvirt gave no reason"));
  }
  return absl::Status(
      CodeOfLibvirtError(error->code, error->domain),
      absl::StrCat(what, ": ",
                   error->message == nullptr ? "libvirt gave no reason"
                                             : error->message));
}

}  // namespace live_update
