#include "host_update/worker/worker_session.h"

#include <errno.h>
#include <poll.h>

#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_code.h"
#include "base/status_macros.h"
#include "host_update/worker/framed_message.h"

namespace live_update {
namespace {

constexpr absl::Duration kRequestTimeout = absl::Seconds(10);
// A daemon that doesn't read must not hold an update up.
constexpr absl::Duration kReplyTimeout = absl::Seconds(2);

}  // namespace

absl::StatusOr<WorkerRequest> WorkerSession::ReadRequest() {
  WorkerRequest request;
  LU_RETURN_IF_ERROR(
      Annotate(ReceiveMessage(socket_.get(), request, kLargestRequest,
                              absl::Now() + kRequestTimeout),
               "read the request"));
  return request;
}

void WorkerSession::WatchForHangup(std::function<void()> gone) {
  std::thread([fd = socket_.get(), gone = std::move(gone)] {
    pollfd watched = {.fd = fd, .events = POLLRDHUP, .revents = 0};
    while (poll(&watched, 1, -1) < 0 && errno == EINTR) {
    }
    gone();
  }).detach();
}

void WorkerSession::Put(const google::protobuf::Message& message,
                        const std::string&) {
  if (const auto* check = dynamic_cast<const CheckReport*>(&message)) {
    *result_.mutable_check() = *check;
  } else if (const auto* plan = dynamic_cast<const UpdatePlan*>(&message)) {
    *result_.mutable_plan() = *plan;
  } else if (const auto* report = dynamic_cast<const UpdateReport*>(&message)) {
    *result_.mutable_report() = *report;
  } else if (const auto* status = dynamic_cast<const HostStatus*>(&message)) {
    *result_.mutable_status() = *status;
  } else if (const auto* enable = dynamic_cast<const EnableReport*>(&message)) {
    *result_.mutable_enable() = *enable;
  } else if (const auto* restart =
                 dynamic_cast<const RestartReport*>(&message)) {
    *result_.mutable_restart() = *restart;
  }
}

void WorkerSession::Explain(const absl::Status& why) {
  result_.set_error(std::string(why.message()));
  result_.set_code(CodeOf(why));
}

void WorkerSession::Entered(Phase phase) {
  WorkerReply reply;
  reply.set_phase(std::string(PhaseName(phase)));
  Send(reply);
}

void WorkerSession::Finish(ExitCode code) {
  WorkerReply reply;
  result_.set_exit_code(static_cast<int>(code));
  *reply.mutable_result() = std::move(result_);
  Send(reply);
}

void WorkerSession::Send(const WorkerReply& reply) {
  const absl::Status sent = SendMessage(socket_.get(), reply, kLargestReply,
                                        absl::Now() + kReplyTimeout);
  if (!sent.ok()) {
    LogWarning(absl::StrCat("the daemon isn't told: ", sent.message()));
  }
}

}  // namespace live_update
