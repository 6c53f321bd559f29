#include "host_update/service/worker_client.h"

#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "host_update/qemu/unix_socket.h"
#include "host_update/worker/framed_message.h"

namespace live_update {
namespace {

constexpr absl::Duration kSendTimeout = absl::Seconds(10);

class SocketWorkerClient : public WorkerClient {
 public:
  explicit SocketWorkerClient(std::string path) : path_(std::move(path)) {}

  absl::StatusOr<std::unique_ptr<WorkerCall>> Begin(
      const WorkerRequest& request) override {
    absl::StatusOr<UniqueFd> socket = ConnectUnix(path_);
    if (!socket.ok()) {
      return absl::UnavailableError(absl::StrCat("no worker can be reached: ",
                                                 socket.status().message()));
    }
    LU_RETURN_IF_ERROR(
        Annotate(SendMessage(socket->get(), request, kLargestRequest,
                             absl::Now() + kSendTimeout),
                 "ask the worker"));
    return std::make_unique<WorkerCall>(*std::move(socket));
  }

 private:
  const std::string path_;
};

}  // namespace

absl::StatusOr<WorkerReply::Result> WorkerCall::Wait(
    const std::function<void(const std::string& phase)>& entered,
    absl::Duration limit) {
  while (true) {
    WorkerReply reply;
    absl::Status status = ReceiveMessage(socket_.get(), reply, kLargestReply,
                                         absl::Now() + limit);
    if (absl::IsOutOfRange(status)) {
      return absl::AbortedError("the worker ended without an answer");
    }
    LU_RETURN_IF_ERROR(Annotate(status, "the worker's answer"));
    if (reply.has_result()) return std::move(*reply.mutable_result());
    entered(reply.phase());
  }
}

void WorkerCall::Stop() { shutdown(socket_.get(), SHUT_WR); }

std::unique_ptr<WorkerClient> NewWorkerClient(const std::string& path) {
  return std::make_unique<SocketWorkerClient>(path);
}

absl::StatusOr<WorkerReply::Result> CallWorker(WorkerClient& client,
                                               const WorkerRequest& request,
                                               absl::Duration limit) {
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<WorkerCall> call,
                      client.Begin(request));
  return call->Wait([](const std::string&) {}, limit);
}

}  // namespace live_update
