#include "host_update/ctl/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace live_update::ctl {
namespace {

constexpr char kAsk[] = "not known from here; `virsh list --all` shows them";
constexpr char kUnchanged[] = "as they were: this call changed nothing";

std::shared_ptr<grpc::Channel> NewChannel(const std::string& socket) {
  grpc::ChannelArguments arguments;
  // gRPC's own waits grow to two minutes: too long after a kexec.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(absl::StrCat("unix:", socket),
                                   grpc::InsecureChannelCredentials(),
                                   arguments);
}

// 0 if someone listens on `socket`, else errno of connect(2).
int Probe(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  memcpy(address.sun_path, socket.data(), socket.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return errno;
  const int result = connect(
      fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return result == 0 ? 0 : errno;
}

ExitCode ExitCodeOf(grpc::StatusCode status, const std::string& code) {
  switch (status) {
    case grpc::StatusCode::UNAVAILABLE:
      return code == "BUSY" ? ExitCode::kBusy : ExitCode::kNoDaemon;
    case grpc::StatusCode::DEADLINE_EXCEEDED:  // It may have been done.
      return ExitCode::kNoDaemon;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return ExitCode::kNoPermission;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return code == "BLACKOUT_BUDGET" ? ExitCode::kOverBudget
                                       : ExitCode::kFailedUnharmed;
    case grpc::StatusCode::NOT_FOUND:
      return ExitCode::kNothingToDo;
    default:
      return ExitCode::kFailedUnharmed;
  }
}

// The daemon didn't say: no one listens, or it went away in the middle.
void DescribeUnreached(const grpc::Status& status, const std::string& socket,
                       Error& error) {
  const int reason = Probe(socket);
  error.vms_now = kAsk;
  if (reason == EACCES || reason == EPERM) {
    error.exit_code = ExitCode::kNoPermission;
    error.code = "PERMISSION_DENIED";
    error.message = absl::StrCat("no permission to open ", socket);
    error.remedy = "give it as root or as a member of host-update-admin";
    error.vms_now = kUnchanged;
    error.transient = false;
    return;
  }
  error.code = reason == 0 ? "CONNECTION_LOST" : "NO_DAEMON";
  error.message = reason == 0
                      ? absl::StrCat("connection to hostupdated on ", socket,
                                     " broke: ", status.error_message())
                      : absl::StrCat("no daemon listens on ", socket, ": ",
                                     strerrordesc_np(reason));
  error.remedy = "systemctl status hostupdated";
}

// Fills in what the daemon left out.
void SetDefaults(grpc::StatusCode status, Error& error) {
  std::string remedy = "hostupdatectl status; journalctl -u hostupdated";
  std::string vms_now = kAsk;
  switch (status) {
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      remedy = "give it as root or as a member of host-update-admin";
      vms_now = kUnchanged;
      break;
    case grpc::StatusCode::NOT_FOUND:
      remedy = "hostupdatectl history";
      vms_now = kUnchanged;
      break;
    case grpc::StatusCode::INVALID_ARGUMENT:
      remedy = "hostupdatectl --help";
      vms_now = kUnchanged;
      break;
    default:
      break;
  }
  if (error.remedy.empty()) error.remedy = remedy;
  if (error.vms_now.empty()) error.vms_now = vms_now;
}

}  // namespace

Error ToError(const grpc::Status& status, const std::string& socket) {
  Error error;
  error.message = status.error_message();
  v1::ErrorDetail detail;
  const bool told =
      detail.ParseFromString(status.error_details()) && !detail.code().empty();
  if (told) {
    error.code = detail.code();
    error.remedy = detail.remedy();
    error.vms_now = detail.vms_now();
  } else {
    error.code = absl::StatusCodeToString(
        static_cast<absl::StatusCode>(status.error_code()));
  }
  error.exit_code = ExitCodeOf(status.error_code(), error.code);
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      error.transient = true;
      break;
    case grpc::StatusCode::CANCELLED:  // A server that is going down.
    case grpc::StatusCode::UNKNOWN:    // A stream that was cut.
      error.transient = !told;
      break;
    default:
      break;
  }
  if (!told && status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    DescribeUnreached(status, socket, error);
  }
  SetDefaults(status.error_code(), error);
  return error;
}

Client::Client(const std::string& socket, bool may_prompt)
    : socket_(socket),
      may_prompt_(may_prompt),
      stub_(v1::HostUpdate::NewStub(NewChannel(socket))) {}

std::optional<Error> Client::Watch(
    const v1::WatchRequest& request, absl::Time deadline,
    const std::function<bool(const v1::Event&)>& on_event) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(deadline));
  const std::unique_ptr<grpc::ClientReader<v1::Event>> reader =
      stub_->Watch(&context, request);
  v1::Event event;
  bool stopped = false;
  while (!stopped && reader->Read(&event)) stopped = !on_event(event);
  if (stopped) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (stopped || status.ok()) return std::nullopt;
  return ToError(status, socket_);
}

}  // namespace live_update::ctl
