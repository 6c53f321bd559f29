#include "base/log.h"

#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace live_update {
namespace {

std::string Prefix(Severity severity) {
  if (std::getenv("JOURNAL_STREAM") != nullptr) {
    switch (severity) {
      case Severity::kInfo:
        return "<6>";
      case Severity::kWarning:
        return "<4>";
      case Severity::kError:
        return "<3>";
    }
  }
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  std::string prefix =
      absl::StrFormat("[%5d.%06d] ", now.tv_sec, now.tv_nsec / 1000);
  if (severity == Severity::kWarning) prefix += "warning: ";
  if (severity == Severity::kError) prefix += "error: ";
  return prefix;
}

}  // namespace

void Log(Severity severity, absl::string_view text) {
  const std::string line = absl::StrCat(
      Prefix(severity), absl::StrReplaceAll(text, {{"\n", " | "}}), "\n");
  // A full or closed standard error must not stop an update.
  [[maybe_unused]] ssize_t written =
      write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace live_update
