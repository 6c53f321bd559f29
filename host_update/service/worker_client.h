// The daemon's end of a connection to a worker: systemd starts one with all
// privileges for each connection to its socket.

#ifndef HOST_UPDATE_SERVICE_WORKER_CLIENT_H_
#define HOST_UPDATE_SERVICE_WORKER_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "host_update/worker/worker.pb.h"

namespace live_update {

// One request under way.
class WorkerCall {
 public:
  explicit WorkerCall(UniqueFd socket) : socket_(std::move(socket)) {}

  // Reads replies up to the result; `entered` gets the phases before it.
  // kDeadlineExceeded: no reply within `limit` of the one before.
  // kAborted: the worker ended without a result.
  absl::StatusOr<WorkerReply::Result> Wait(
      const std::function<void(const std::string& phase)>& entered,
      absl::Duration limit);

  // Asks the worker to take back what it does; it answers when it has. May be
  // called from another thread, more than once.
  void Stop();

 private:
  const UniqueFd socket_;
};

class WorkerClient {
 public:
  virtual ~WorkerClient() = default;
  // Sends `request`. kUnavailable: no worker can be reached.
  virtual absl::StatusOr<std::unique_ptr<WorkerCall>> Begin(
      const WorkerRequest& request) = 0;
};

// Through the socket at `path`.
std::unique_ptr<WorkerClient> NewWorkerClient(const std::string& path);

// Begins `request` and waits for its result.
absl::StatusOr<WorkerReply::Result> CallWorker(WorkerClient& client,
                                               const WorkerRequest& request,
                                               absl::Duration limit);

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_WORKER_CLIENT_H_
