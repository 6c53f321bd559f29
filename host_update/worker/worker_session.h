// The worker's end of its one connection.

#ifndef HOST_UPDATE_WORKER_WORKER_SESSION_H_
#define HOST_UPDATE_WORKER_WORKER_SESSION_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "host_update/cli/exit_code.h"
#include "host_update/cli/output.h"
#include "host_update/worker/worker.pb.h"

namespace live_update {

class WorkerSession : public Output {
 public:
  explicit WorkerSession(UniqueFd socket) : socket_(std::move(socket)) {}

  // To be called first, once. Waits at most a few seconds.
  absl::StatusOr<WorkerRequest> ReadRequest();

  // Calls `gone` (from another thread) when the daemon closes the connection,
  // or its sending half, which is how it asks to stop. That thread lives until
  // the process ends.
  void WatchForHangup(std::function<void()> gone);

  // The Result goes out with the exit code, in Finish.
  void Put(const google::protobuf::Message& message,
           const std::string& text) override;
  void Explain(const absl::Status& why) override;
  void Entered(Phase phase) override;
  void Finish(ExitCode code);

 private:
  void Send(const WorkerReply& reply);

  const UniqueFd socket_;
  WorkerReply::Result result_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_WORKER_WORKER_SESSION_H_
