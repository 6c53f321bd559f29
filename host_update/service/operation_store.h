// What was asked of this host and how it went: operations and their events, on
// disk, so that an interrupted one is known to the next start.

#ifndef HOST_UPDATE_SERVICE_OPERATION_STORE_H_
#define HOST_UPDATE_SERVICE_OPERATION_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "host_update/service/host_update.pb.h"
#include "host_update/service/stored_operation.pb.h"

namespace live_update {

// How an operation ended.
struct Ending {
  v1::Operation::State state = v1::Operation::FAILED;
  int exit_code = 1;
  std::string error;
  std::optional<UpdateReport> report;
  std::optional<RestartReport> restart;
};

// Thread-safe.
class OperationStore {
 public:
  // Reads what `directory` holds. A file that can't be read is left alone, with
  // a warning. kNotFound: there is no such directory.
  static absl::StatusOr<std::unique_ptr<OperationStore>> Open(
      const std::string& directory);

  // Begins `operation`, whose id, state and start are set here, and writes it
  // out. If its request_id (not empty) has been seen, returns the operation of
  // then, and `is_new` is false. kUnavailable, BUSY: another one runs.
  // kInvalidArgument: not a request id.
  absl::StatusOr<v1::Operation> Begin(v1::Operation operation, bool& is_new);

  // Adds an event. While VMs are paused nothing is written to disk.
  void EnterPhase(const std::string& id, const std::string& phase);

  // Adds the last event and writes all of it out. No effect if it has ended.
  void End(const std::string& id, const Ending& ending);

  std::optional<v1::Operation> Get(const std::string& id) const;
  // The newest first, without reports.
  std::vector<v1::Operation> List(size_t limit) const;
  // Those that run, or ran when the last daemon ended.
  std::vector<v1::Operation> Running() const;

  // Events above `after` of operation `id` (empty: of all), in order. Waits
  // until there is one or `deadline` has passed.
  std::vector<v1::Event> EventsAfter(uint64_t after, const std::string& id,
                                     absl::Time deadline) const;
  uint64_t last_sequence() const;

 private:
  explicit OperationStore(std::string directory)
      : directory_(std::move(directory)) {}

  void Load() ABSL_LOCKS_EXCLUDED(mutex_);
  void AddEvent(StoredOperation& stored, const std::string& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(StoredOperation& stored)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string directory_;
  mutable absl::Mutex mutex_;
  std::map<std::string, StoredOperation> operations_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_OPERATION_STORE_H_
