// What root wants done with the VMs: the policy file, a VM's own wish in its
// libvirt metadata, the words of the command line. policy.proto says what can
// be said; ways.h decides by it.

#ifndef HOST_UPDATE_POLICY_H_
#define HOST_UPDATE_POLICY_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "host_update/policy.pb.h"

namespace live_update {

// "in-place", "copy", "managedsave", "shutdown", "refuse": as they stand on
// command lines, in metadata, plans and reports.
absl::string_view WayName(Policy::Way way);

// kInvalidArgument: no such way, with those that there are.
absl::StatusOr<Policy::Way> ParseWay(absl::string_view name);

// Name or UUID of a VM -> name of a way.
using WayByVm = std::map<std::string, std::string>;

// Adds "VM=WAY", of --way, to `ways`. The VM's name may have a "=" in it.
// kInvalidArgument: no such words, or the VM was named before.
absl::Status AddWay(absl::string_view words, WayByVm& ways);

// Of a file's text; `name` stands before errors, which say line and column.
// kInvalidArgument: it is no policy, or has something in it that can't be.
absl::StatusOr<Policy> ParsePolicy(absl::string_view text,
                                   absl::string_view name);

// The policy in the file `path`; an empty one if there is no such file. Errors
// as of ParsePolicy and of reading: at most 1 MiB is read.
absl::StatusOr<Policy> ReadPolicy(const std::string& path);

// The rule that holds for a VM: its number, counted from 1, or 0 and null.
std::pair<int, const Policy::Rule*> FindRule(const Policy& policy,
                                             const std::string& name,
                                             const std::string& uuid);

// What a VM's metadata ask for, by the attributes of the <policy> element: way,
// fallback, priority, guest-clock, shutdown-timeout. kInvalidArgument: one that
// is not known here, or whose value can't be.
absl::StatusOr<Policy::Rule> RuleOfMetadata(
    const std::vector<std::pair<std::string, std::string>>& attributes);

absl::Duration ShutdownTimeoutOf(const Policy::Rule& rule);

}  // namespace live_update

#endif  // HOST_UPDATE_POLICY_H_
