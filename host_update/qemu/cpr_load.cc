#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "host_update/qemu/cpr_peer.h"
#include "host_update/qemu/cpr_stream.h"

namespace live_update {
namespace {

// QEMU makes its socket tens of milliseconds after its start; inotify(7) would
// not say when it listens.
constexpr absl::Duration kConnectInterval = absl::Milliseconds(2);

absl::StatusOr<UniqueFd> ConnectWhenReady(const std::string& socket,
                                          const WakeUp& wake_up,
                                          absl::Time deadline) {
  const std::string what =
      absl::StrCat("QEMU to listen on its cpr channel at ", socket);
  while (true) {
    absl::StatusOr<UniqueFd> connection = ConnectUnix(socket);
    if (!absl::IsUnavailable(connection.status())) return connection;
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("waited for ", what));
    }
    // Nothing but the wake-up can end this wait early.
    const absl::Status waited =
        WaitFor(wake_up.fd(), POLLIN, what, nullptr,
                std::min(deadline, absl::Now() + kConnectInterval));
    if (waited.ok()) {
      return absl::CancelledError(absl::StrCat("broke off waiting for ", what));
    }
    if (!absl::IsDeadlineExceeded(waited)) return waited;
  }
}

}  // namespace

absl::StatusOr<CprLoader> CprLoader::Create() {
  LU_ASSIGN_OR_RETURN(WakeUp wake_up, WakeUp::Create());
  return CprLoader(std::move(wake_up));
}

absl::Status CprLoader::Send(const std::string& socket,
                             absl::Span<const CprFd> fds,
                             const PeerCheck& check_peer, absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::vector<CprStreamPiece> pieces,
                      SerializeCprStream(fds));
  LU_ASSIGN_OR_RETURN(const UniqueFd connection,
                      ConnectWhenReady(socket, wake_up_, deadline));
  LU_RETURN_IF_ERROR(CheckPeer(connection.get(), check_peer));
  for (const CprStreamPiece& piece : pieces) {
    LU_RETURN_IF_ERROR(SendWithFd(connection.get(), piece.bytes, piece.fd,
                                  "QEMU to read its cpr channel", &wake_up_,
                                  deadline));
  }
  // What is in the socket stays there for QEMU to read when we are gone.
  return absl::OkStatus();
}

}  // namespace live_update
