// The guest agent's protocol (QEMU's qga/qapi-schema.json): the few commands
// that an update needs, over whatever carries them. What an agent answers is a
// guest's word: limited, and believed about that guest alone.

#ifndef HOST_UPDATE_QEMU_GUEST_AGENT_H_
#define HOST_UPDATE_QEMU_GUEST_AGENT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "host_update/qemu/qmp.h"

namespace live_update {

// What the agent runs for RunHook.
inline constexpr char kGuestHook[] = "/etc/qemu/host-update-hook";

// The replies. kInternal: not such a one.
absl::StatusOr<absl::Time> ParseGuestTime(absl::string_view reply);
absl::StatusOr<uint64_t> ParseGuestExec(absl::string_view reply);
// Its exit status, or 128 and a signal's number; unset: it runs.
absl::StatusOr<std::optional<uint64_t>> ParseGuestExecStatus(
    absl::string_view reply);

// Does not own the channel, whose errors are those of the calls.
class GuestAgent {
 public:
  explicit GuestAgent(QmpChannel* channel) : channel_(channel) {}

  // The guest's wall clock.
  absl::StatusOr<absl::Time> GetTime(absl::Time deadline);
  absl::Status SetTime(absl::Time now, absl::Time deadline);

  // Runs kGuestHook with `word`, which is one for a shell, and waits for its
  // end until the deadline; OK if it is not over then. kNotFound: the agent did
  // not start it. kFailedPrecondition: it failed.
  absl::Status RunHook(absl::string_view word, absl::Time deadline);

 private:
  QmpChannel* const channel_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_GUEST_AGENT_H_
