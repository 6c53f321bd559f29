// Carries operations out through workers, and settles those that a daemon or a
// kernel before left unfinished.

#ifndef HOST_UPDATE_SERVICE_OPERATION_RUNNER_H_
#define HOST_UPDATE_SERVICE_OPERATION_RUNNER_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "host_update/service/host_update.pb.h"
#include "host_update/service/operation_store.h"
#include "host_update/service/worker_client.h"

namespace live_update {

// Thread-safe.
class OperationRunner {
 public:
  // Both must outlive it.
  OperationRunner(OperationStore& store, WorkerClient& workers)
      : store_(store), workers_(workers) {}
  // Stops what runs, which takes it back, and waits for it.
  ~OperationRunner();

  // Begins `operation` as the store does, and carries it out in a thread of its
  // own, by `request`; an update gets its operation's id.
  absl::StatusOr<v1::Operation> Start(v1::Operation operation,
                                      WorkerRequest request);

  // Asks a running update to take itself back. kNotFound, kFailedPrecondition:
  // it can't any more.
  absl::Status Abort(const std::string& id);

  // Settles what the store calls running. To be called once; until it is done
  // Start refuses, since something runs. An update of an earlier boot has its
  // report by now, or will have none.
  void SettleInterrupted();

 private:
  void Run(const std::string& id, WorkerCall& call);
  Ending SettleInThisBoot(const v1::Operation& operation);
  Ending SettleOfEarlierBoot(const v1::Operation& operation);
  bool WasAborted(const std::string& id) const;

  OperationStore& store_;
  WorkerClient& workers_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<WorkerCall>> calls_
      ABSL_GUARDED_BY(mutex_);
  std::set<std::string> aborted_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_OPERATION_RUNNER_H_
