// How the parts of a check write their findings.

#ifndef HOST_UPDATE_PREFLIGHT_FINDINGS_H_
#define HOST_UPDATE_PREFLIGHT_FINDINGS_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "host_update/preflight.h"
#include "host_update/report/report.pb.h"

namespace live_update {

// Writes findings about one subject into a report.
class Findings {
 public:
  // `report` must outlive this.
  Findings(absl::string_view subject, CheckReport* report)
      : subject_(subject), report_(report) {}

  void Ok(absl::string_view code, absl::string_view message) {
    Add(code, Finding::OK, message, "");
  }
  void Warning(absl::string_view code, absl::string_view message,
               absl::string_view remedy) {
    Add(code, Finding::WARNING, message, remedy);
  }
  void Error(absl::string_view code, absl::string_view message,
             absl::string_view remedy) {
    Add(code, Finding::ERROR, message, remedy);
  }

 private:
  void Add(absl::string_view code, Finding::Severity severity,
           absl::string_view message, absl::string_view remedy) {
    Finding* finding = report_->add_findings();
    finding->set_code(std::string(code));
    finding->set_severity(severity);
    finding->set_subject(std::string(subject_));
    finding->set_message(std::string(message));
    finding->set_remedy(std::string(remedy));
  }

  const std::string subject_;
  CheckReport* const report_;
};

// A go is a report in which no finding is an ERROR.
inline void SetGo(CheckReport* report) {
  report->set_go(std::none_of(
      report->findings().begin(), report->findings().end(),
      [](const Finding& f) { return f.severity() == Finding::ERROR; }));
}

// "512 MiB", "1.5 GiB".
std::string Size(uint64_t bytes);

// Whether `version` ("10.0.2", "11.3.0-2") is at least major.minor. False if it
// can't be read.
bool IsAtLeast(absl::string_view version, int major, int minor);

// The oldest that this program works with (README.md says why).
inline constexpr int kOldestLibvirt[] = {11, 3};
inline constexpr int kOldestQemu[] = {10, 0};

void EvaluateHost(const PreflightInput& input, CheckReport* report);
void EvaluateTarget(const PreflightInput& input, CheckReport* report);
void EvaluateVm(const ExaminedVm& vm, const PreflightInput& input,
                CheckReport* report);

}  // namespace live_update

#endif  // HOST_UPDATE_PREFLIGHT_FINDINGS_H_
