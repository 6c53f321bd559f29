#include "host_update/deadline_call.h"

#include <algorithm>
#include <functional>

#include "absl/time/clock.h"

namespace live_update {
namespace {

constexpr absl::Duration kBetweenAttempts = absl::Milliseconds(250);

}  // namespace

absl::Status RetryWhileUnavailable(
    absl::Time deadline, const std::function<absl::Status()>& attempt) {
  absl::Status last = attempt();
  while (absl::IsUnavailable(last) && absl::Now() < deadline) {
    absl::SleepFor(std::min(deadline - absl::Now(), kBetweenAttempts));
    const absl::Status next = attempt();
    if (absl::IsDeadlineExceeded(next)) break;
    last = next;
  }
  return last;
}

}  // namespace live_update
