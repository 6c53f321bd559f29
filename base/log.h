// One line per event on standard error, where systemd and a terminal look.

#ifndef BASE_LOG_H_
#define BASE_LOG_H_

#include "absl/strings/string_view.h"

namespace live_update {

enum class Severity { kInfo, kWarning, kError };

// Writes "[   12.345678] text" (seconds since boot, CLOCK_BOOTTIME). Under
// systemd (JOURNAL_STREAM is set) the line starts with the level as "<4>" and
// the journal keeps the time. One write(2) a line, so that lines of several
// threads do not mix.
void Log(Severity severity, absl::string_view text);

inline void LogInfo(absl::string_view text) { Log(Severity::kInfo, text); }
inline void LogWarning(absl::string_view text) {
  Log(Severity::kWarning, text);
}
inline void LogError(absl::string_view text) { Log(Severity::kError, text); }

}  // namespace live_update

#endif  // BASE_LOG_H_
