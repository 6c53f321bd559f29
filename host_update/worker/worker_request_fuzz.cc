// What a daemon that was taken over may send: what is accepted must be what a
// worker may do.

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/unique_fd.h"
#include "host_update/history.h"
#include "host_update/preflight.h"
#include "host_update/worker/framed_message.h"
#include "host_update/worker/worker_request.h"

namespace live_update {
namespace {

bool IsPlainPath(const std::string& path) {
  return path.empty() ||
         (absl::StartsWith(path, "/") && path.size() <= 4096 &&
          std::all_of(path.begin(), path.end(), [](char c) {
            return static_cast<unsigned char>(c) >= ' ' && c != 127;
          }));
}

void Check(absl::string_view bytes) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  // More would wait for a reader; the length's limit is in a unit test.
  bytes = bytes.substr(0, 32 << 10);
  if (send(theirs.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(bytes.size())) {
    abort();
  }
  theirs.Reset();
  WorkerRequest request;
  if (!ReceiveMessage(ours.get(), request, kLargestRequest,
                      absl::Now() + absl::Seconds(5))
           .ok()) {
    return;
  }
  const absl::StatusOr<Options> options = OptionsOf(request, Options());
  if (!options.ok()) return;
  const UpdateRequest& update = options->request;
  if (!IsPlainPath(update.kernel_path) || !IsPlainPath(update.initrd_path) ||
      !update.append.empty()) {
    abort();
  }
  for (const std::string& code : update.overrides) {
    if (!CheckOverride(code).ok()) abort();
  }
  if (!update.update_id.empty() && !IsUpdateId(update.update_id)) abort();
  if (!(update.max_blackout_s >= 0)) abort();
}

}  // namespace
}  // namespace live_update

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  live_update::Check({reinterpret_cast<const char*>(data), size});
  return 0;
}
