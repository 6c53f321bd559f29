#include "testing/faults/fault.h"

#include <signal.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/log.h"

namespace live_update::testing {

absl::StatusOr<Fault> ParseFault(absl::string_view text) {
  if (text.empty()) return Fault{};
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (parts.first.empty() ||
      (parts.second != "error" && parts.second != "kill" &&
       parts.second != "stall" && parts.second != "delay")) {
    return absl::InvalidArgumentError(
        absl::StrCat("HOST_UPDATE_FAULT=", text,
                     ": want POINT:error, :kill, :stall or :delay"));
  }
  return Fault{.point = parts.first, .action = parts.second};
}

absl::Status MeetFault(const Fault& fault, absl::string_view point,
                       absl::Time deadline) {
  if (fault.point != point) return absl::OkStatus();
  LogWarning(absl::StrCat("fault at ", point, ": ", fault.action));
  if (fault.action == "kill") kill(getpid(), SIGKILL);
  if (fault.action == "delay") {
    absl::SleepFor(absl::Seconds(30));
    return absl::OkStatus();
  }
  if (fault.action == "stall") {
    while (absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(20));
    return absl::DeadlineExceededError(
        absl::StrCat("injected stall at ", point));
  }
  return absl::InternalError(absl::StrCat("injected error at ", point));
}

}  // namespace live_update::testing
