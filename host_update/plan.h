// What an update would do, from what the check saw.

#ifndef HOST_UPDATE_PLAN_H_
#define HOST_UPDATE_PLAN_H_

#include "absl/status/status.h"
#include "host_update/check.h"
#include "host_update/dependencies.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// Without `check`. Reads this host's history for the prediction.
UpdatePlan MakePlan(const UpdateRequest& request, const CheckedHost& checked,
                    const Dependencies& deps);

// Whether what `checked` leads to is what the caller agreed to.
// kFailedPrecondition with the code (CodeOf) PLAN_CHANGED or BLACKOUT_BUDGET,
// and the numbers.
absl::Status CheckAgreed(const UpdateRequest& request,
                         const CheckedHost& checked, const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_PLAN_H_
