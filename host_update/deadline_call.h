// Calls that may never return, bounded: libvirt's API blocks until its daemon
// answers, and the daemon until QEMU does; a file system, until its disk does.

#ifndef HOST_UPDATE_DEADLINE_CALL_H_
#define HOST_UPDATE_DEADLINE_CALL_H_

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace live_update {

// Runs `work` on a thread of its own and returns what it returns (R is
// absl::Status or absl::StatusOr), or kDeadlineExceeded naming `what`. In the
// latter case the thread goes on: `work` must own all it uses. When it does
// end, `if_late`, if any, gets its result on that thread, to undo what nobody
// waits for any more.
template <typename R>
R CallBefore(absl::Time deadline, absl::string_view what,
             std::function<R()> work, std::function<void(R)> if_late = {}) {
  struct Call {
    absl::Mutex mutex;
    std::optional<R> result ABSL_GUARDED_BY(mutex);
    bool abandoned ABSL_GUARDED_BY(mutex) = false;
  };
  auto call = std::make_shared<Call>();
  std::thread([call, work = std::move(work), if_late = std::move(if_late)] {
    R result = work();
    {
      const absl::MutexLock lock(&call->mutex);
      if (!call->abandoned) {
        call->result.emplace(std::move(result));
        return;
      }
    }
    if (if_late) if_late(std::move(result));
  }).detach();

  const absl::MutexLock lock(&call->mutex);
  const auto done = [&call]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(call->mutex) {
    return call->result.has_value();
  };
  if (!call->mutex.AwaitWithDeadline(absl::Condition(&done), deadline)) {
    call->abandoned = true;
    return absl::DeadlineExceededError(absl::StrCat("waited for ", what));
  }
  return *std::move(call->result);
}

// Calls `attempt` (bounded by `deadline` itself) again and again while it
// returns kUnavailable. Returns what it returned last; but the kUnavailable
// before if `deadline` passed within a call, for that one says why.
absl::Status RetryWhileUnavailable(
    absl::Time deadline, const std::function<absl::Status()>& attempt);

}  // namespace live_update

#endif  // HOST_UPDATE_DEADLINE_CALL_H_
