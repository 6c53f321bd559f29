// Reports and findings as a person reads them. Not stable: scripts use --json.

#ifndef HOST_UPDATE_REPORT_REPORT_TEXT_H_
#define HOST_UPDATE_REPORT_REPORT_TEXT_H_

#include <string>

#include "host_update/report/report.pb.h"

namespace live_update {

// Each ends with a newline.
std::string CheckText(const CheckReport& check);
std::string PlanText(const UpdatePlan& plan);
// What the check in it found, then the plan.
std::string CheckAndPlanText(const UpdatePlan& plan);
std::string ReportText(const UpdateReport& report);
std::string StatusText(const HostStatus& status);
std::string RestartText(const RestartReport& report);
std::string EnableText(const EnableReport& report);

}  // namespace live_update

#endif  // HOST_UPDATE_REPORT_REPORT_TEXT_H_
