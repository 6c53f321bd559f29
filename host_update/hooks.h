// What an operator has run at the edges of an update: executables in
// /etc/host-update/hooks.d/notify, pre-pause and post-resume.
// packaging/hooks-README says what each is for and what it gets.

#ifndef HOST_UPDATE_HOOKS_H_
#define HOST_UPDATE_HOOKS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"

namespace live_update {

enum class HookKind {
  kNotify,      // prepare begins; VMs run.
  kPrePause,    // The last thing before the pause.
  kPostResume,  // VMs run again: in the new kernel, or in the old one.
};

inline constexpr HookKind kHookKinds[] = {
    HookKind::kNotify, HookKind::kPrePause, HookKind::kPostResume};

// "notify", "pre-pause", "post-resume".
absl::string_view HookKindName(HookKind kind);

// The longest that one hook of `kind` may take.
absl::Duration HookLimit(HookKind kind, const TimeLimits& limits);

// What hooks are told, in their environment.
struct HookContext {
  std::string update_id;            // HOST_UPDATE_ID
  std::string kernel;               // HOST_UPDATE_KERNEL: the target's path.
  std::string result;               // HOST_UPDATE_RESULT, of post-resume.
  double predicted_blackout_s = 0;  // HOST_UPDATE_PREDICTED_BLACKOUT_S
  double blackout_s = 0;            // HOST_UPDATE_BLACKOUT_S, of post-resume.
};

struct HookFiles {
  std::vector<std::string> names;  // Those that run, in their order.
  // Executables that are not trusted, a line each: which, why, and the remedy.
  std::vector<std::string> refused;
};

// The hooks of `kind` below `hooks_dir`: executable files named as run-parts(8)
// wants it, [A-Za-z0-9_-]+, that only root (or this program's user) can write,
// in folders of which the same holds. What has another name, or is not
// executable, is left out. A folder that is not there has no hooks. An error:
// it can't be looked at.
absl::StatusOr<HookFiles> ListHooks(const std::string& hooks_dir,
                                    HookKind kind);

// Runs the notify or pre-pause hooks, one after the other. The first that fails
// or exceeds its limit, or one that is refused, ends it: the error names it.
// kCancelled: deps.stop_asked while one ran.
absl::Status RunHooks(HookKind kind, const HookContext& context,
                      const Dependencies& deps);

// Runs all post-resume hooks, whatever each does. Returns a finding HOOK_FAILED
// for each that failed, was refused, or could not be looked for.
std::vector<Finding> RunPostResumeHooks(const HookContext& context,
                                        const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_HOOKS_H_
