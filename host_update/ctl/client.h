// hostupdated as seen from here: calls with deadlines, errors with remedies.

#ifndef HOST_UPDATE_CTL_CLIENT_H_
#define HOST_UPDATE_CTL_CLIENT_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "host_update/ctl/error.h"
#include "host_update/service/host_update.grpc.pb.h"
#include "host_update/service/metadata.h"

namespace live_update::ctl {

// What a call returned: `value`, if there is no error.
template <typename Message>
struct Reply {
  Message value;
  std::optional<Error> error;

  bool ok() const { return !error.has_value(); }
};

// What `status`, not OK, of a call over `socket` means. Connects to `socket`
// once more to tell an absent daemon from a broken connection.
Error ToError(const grpc::Status& status, const std::string& socket);

class Client {
 public:
  using Stub = v1::HostUpdate::Stub;

  // One channel to the UNIX socket `socket`. It connects with the first call,
  // and again with a later one should the connection break. `may_prompt`: if it
  // is polkit that decides, it may ask the user for a password.
  explicit Client(const std::string& socket, bool may_prompt = false);

  // Calls `method`, as in Call(&Client::Stub::Check, request, deadline).
  template <typename Request, typename Response>
  Reply<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                    const Request&, Response*),
                       const Request& request, absl::Time deadline) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    if (may_prompt_) context.AddMetadata(kMayPrompt, "1");
    Reply<Response> reply;
    const grpc::Status status =
        (stub_.get()->*method)(&context, request, &reply.value);
    if (!status.ok()) reply.error = ToError(status, socket_);
    return reply;
  }

  // Gives `on_event` each event of one stream, until the stream ends or
  // `on_event` returns false. An error: it ended otherwise.
  std::optional<Error> Watch(
      const v1::WatchRequest& request, absl::Time deadline,
      const std::function<bool(const v1::Event&)>& on_event);

 private:
  const std::string socket_;
  const bool may_prompt_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_CLIENT_H_
