// The journal of an update under way, and the lock that keeps it the only one.

#ifndef HOST_UPDATE_JOURNAL_H_
#define HOST_UPDATE_JOURNAL_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "host_update/journal.pb.h"
#include "host_update/phase.h"

namespace live_update {

// Held by whatever changes something: update, restore, abort. Freed when the
// process ends, however it ends.
class RunLock {
 public:
  // Creates `run_dir` (0711: QEMU must get to its sockets below it) if need be.
  // kUnavailable: another process holds it (message: its pid).
  static absl::StatusOr<RunLock> Acquire(const std::string& run_dir);

 private:
  explicit RunLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Writes the journal to `run_dir`, atomically.
absl::Status WriteJournal(const std::string& run_dir, const Journal& journal);

// The journal in `run_dir`; nothing if there is none. kDataLoss: it can't be
// read as one.
absl::StatusOr<std::optional<Journal>> ReadJournal(const std::string& run_dir);

// OK if there is none.
absl::Status RemoveJournal(const std::string& run_dir);

}  // namespace live_update

#endif  // HOST_UPDATE_JOURNAL_H_
