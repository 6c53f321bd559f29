// Reports of this host's updates, on disk as JSON.

#ifndef HOST_UPDATE_HISTORY_H_
#define HOST_UPDATE_HISTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// Keeps `report` under its update id, and as the last one.
absl::Status WriteReport(const std::string& state_dir,
                         const UpdateReport& report);

// The report of `update_id`, or the last one if that is empty. kNotFound: none.
// kInvalidArgument: not an id.
absl::StatusOr<UpdateReport> ReadReport(const std::string& state_dir,
                                        const std::string& update_id);

// The reports that are kept, the newest first, at most `limit`. Those that
// can't be read are left out, with a warning in the log.
std::vector<UpdateReport> ReadReports(const std::string& state_dir,
                                      size_t limit);

// Whether `id` can be an update's: a file name of ours and nothing else.
bool IsUpdateId(const std::string& id);

// Forgets reports of updates that were taken back, with every VM unharmed, but
// for those among the newest `keep` of all. What can't be removed stays.
void ForgetOldFailures(const std::string& state_dir, size_t keep);

}  // namespace live_update

#endif  // HOST_UPDATE_HISTORY_H_
