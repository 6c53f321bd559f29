// One foreign executable, run with a time limit and nothing of ours but its
// environment.

#ifndef HOST_UPDATE_HOOK_PROCESS_H_
#define HOST_UPDATE_HOOK_PROCESS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace live_update {

struct HookProcess {
  std::string path;
  std::vector<std::string> environment;  // "NAME=value"; it gets no other.
  absl::Duration limit;
  // One line of its output, printable and at most 512 bytes long. After 200
  // lines what comes is thrown away.
  std::function<void(absl::string_view line)> output;
  // Asked about ten times a second whether to end it before its time. May be
  // empty.
  std::function<bool()> stop;
};

// Runs it to its end, in a session and process group of its own, in "/", with
// /dev/null as standard input. OK: it exited with 0. kFailedPrecondition: with
// another status, or by a signal; the message has that and its last line.
// kDeadlineExceeded, kCancelled: it did not end within its limit, or was to be
// stopped; its process group was killed. Any other error: it was not started.
// What it leaves running when it ends by itself is left alone. It is killed
// (itself, not its group) should the calling thread die.
absl::Status RunHookProcess(const HookProcess& process);

}  // namespace live_update

#endif  // HOST_UPDATE_HOOK_PROCESS_H_
