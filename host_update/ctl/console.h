// Where the program talks to people and scripts.

#ifndef HOST_UPDATE_CTL_CONSOLE_H_
#define HOST_UPDATE_CTL_CONSOLE_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace live_update::ctl {

struct Console {
  std::function<void(absl::string_view)> out;  // Results: standard output.
  std::function<void(absl::string_view)> err;  // Errors, notes, questions.
  // Without its newline; nullopt at the end of input.
  std::function<std::optional<std::string>()> read_line;
  bool in_terminal = false;   // Someone can be asked.
  bool out_terminal = false;  // A line can be written over.
  std::string host_name;
  absl::Duration retry_interval = absl::Seconds(1);  // Between reconnects.
};

// Of this process.
Console SystemConsole();

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_CONSOLE_H_
