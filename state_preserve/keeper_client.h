// Talks to a keeper (keeper.h).

#ifndef STATE_PRESERVE_KEEPER_CLIENT_H_
#define STATE_PRESERVE_KEEPER_CLIENT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "state_preserve/keeper_protocol.h"

namespace live_update {

// Each call is a connection of its own, so that calls may come from several
// threads and processes, and wait at most some seconds. That no keeper runs is
// no error but for Put(): it means that nothing is kept. Names are those of
// keeper_protocol.h, else kInvalidArgument. kUnavailable: a keeper is there and
// does not answer.
class KeeperClient {
 public:
  explicit KeeperClient(std::string socket_path)
      : socket_path_(std::move(socket_path)) {}

  const std::string& socket_path() const { return socket_path_; }

  // Starts a keeper if none answers.
  absl::Status EnsureStarted() const;

  // Has the keeper hold a duplicate of `fd`. When it returns OK, it does.
  // kAlreadyExists: it has one of this name; kFailedPrecondition: no keeper
  // runs; kResourceExhausted.
  absl::Status Put(absl::string_view name, const UniqueFd& fd) const;

  // A duplicate. kNotFound: nothing of this name is kept.
  absl::StatusOr<UniqueFd> Get(absl::string_view name) const;

  // Has the keeper close its duplicate, which it has done when this returns OK.
  // OK if it has none. The keeper ends with its last one.
  absl::Status Drop(absl::string_view name) const;

  // All names, sorted.
  absl::StatusOr<std::vector<std::string>> List() const;

  // Ends a keeper that was started for nothing.
  absl::Status EndIfEmpty() const;

  // Of the keeper; kNotFound: none runs.
  absl::StatusOr<int> Pid() const;

 private:
  absl::StatusOr<KeeperReply> Ask(KeeperOperation operation,
                                  absl::string_view name, int fd_to_send = -1,
                                  UniqueFd* received = nullptr,
                                  uint32_t first_slot = 0) const;

  const std::string socket_path_;
};

}  // namespace live_update

#endif  // STATE_PRESERVE_KEEPER_CLIENT_H_
