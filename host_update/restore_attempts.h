// How often the restore of one handover was begun: one that takes the restorer
// or the host down each time is not begun for ever.

#ifndef HOST_UPDATE_RESTORE_ATTEMPTS_H_
#define HOST_UPDATE_RESTORE_ATTEMPTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

// Who asks for a restore: the boot, or an operator who wants it nevertheless.
enum class Attempt { kAutomatic, kAgain };

// Automatic attempts that may end without having come to their end.
inline constexpr int kAutomaticAttempts = 2;

// Counts an attempt to restore update `update_id`, durably, before it begins:
// whatever ends it, the next one knows of it. kFailedPrecondition: it is an
// automatic one, and kAutomaticAttempts have come to no end; it is not counted.
// An attempt that can't be counted is made nevertheless: VMs wait.
absl::Status BeginAttempt(const std::string& state_dir,
                          const std::string& update_id, Attempt attempt);

// The restore has come to its end, however many VMs it brought back.
void EndAttempts(const std::string& state_dir);

// The report of a restore that is not tried any more, for `why`: names every VM
// that waits, with its next step. What an earlier such report tells of VMs that
// an operator has brought back since is kept.
absl::StatusOr<UpdateReport> ReportGivenUp(const absl::Status& why,
                                           const HandoverReader& reader,
                                           IncomingPreservation& incoming,
                                           const HostFacts& host,
                                           const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_RESTORE_ATTEMPTS_H_
