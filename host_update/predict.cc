#include "host_update/predict.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/log.h"
#include "host_update/history.h"
#include "host_update/policy.h"

namespace live_update {
namespace {

constexpr size_t kUpdatesToPredictFrom = 5;
constexpr size_t kReportsToLookAt = 100;
constexpr double kNanosPerSecond = 1e9;
// Of a blackout in the lab, what lies between the jump and the restorer's first
// line (README.md, "What it costs": 27.6 of 52.2 s, 23.3 of 47.1 s).
constexpr double kBootsShare = 0.51;
// A restorer that was started by hand tells nothing of the boot.
constexpr double kLongestBoot = 1800;  // Seconds.

std::string NotePath(const Dependencies& deps) {
  return absl::StrCat(deps.paths.run_dir, "/restorer-started-s");
}

double Median(std::vector<double> seen) {
  std::sort(seen.begin(), seen.end());
  return seen[seen.size() / 2];
}

BlackoutPrediction FromThisBoot(const Dependencies& deps) {
  BlackoutPrediction prediction;
  const absl::StatusOr<std::string> note = ReadFile(NotePath(deps), 64);
  double boot_s = 0;
  if (!note.ok() || !absl::SimpleAtod(*note, &boot_s) || !(boot_s > 0) ||
      boot_s > kLongestBoot) {
    prediction.basis =
        "no successful update of this host is on record, and its restorer has "
        "not run in this boot";
    return prediction;
  }
  prediction.host_s = boot_s / kBootsShare;
  prediction.basis = absl::StrFormat(
      "a model, as no successful update of this host is on record: this boot "
      "took %.1f s to the restorer, which was %.0f %% of a blackout in the lab",
      boot_s, kBootsShare * 100);
  return prediction;
}

}  // namespace

BlackoutPrediction PredictBlackout(const Dependencies& deps) {
  std::vector<double> host;
  absl::flat_hash_map<std::string, std::vector<double>> vms;
  for (const UpdateReport& report :
       ReadReports(deps.paths.state_dir, kReportsToLookAt)) {
    if (report.result() != UpdateReport::UPDATED ||
        !(report.host_blackout_s() > 0)) {
      continue;
    }
    host.push_back(report.host_blackout_s());
    for (const VmReport& vm : report.vms()) {
      // What another way took says nothing of this one. (Older reports know
      // one way alone.)
      if (!vm.way().empty() && vm.way() != WayName(Policy::IN_PLACE)) continue;
      if (vm.blackout_s() > 0) vms[vm.uuid()].push_back(vm.blackout_s());
    }
    if (host.size() == kUpdatesToPredictFrom) break;
  }
  if (host.empty()) return FromThisBoot(deps);
  BlackoutPrediction prediction;
  prediction.host_s = Median(host);
  for (auto& [uuid, seen] : vms) prediction.vms_s[uuid] = Median(seen);
  prediction.basis = absl::StrFormat(
      "median of the last %d successful updates of this host", host.size());
  return prediction;
}

void NoteRestorerStart(const ClockSample& first_line,
                       const Dependencies& deps) {
  const std::string path = NotePath(deps);
  if (access(path.c_str(), F_OK) == 0) return;
  std::error_code error;
  std::filesystem::create_directories(deps.paths.run_dir, error);
  const double seconds =
      static_cast<double>(first_line.boottime_ns()) / kNanosPerSecond;
  if (absl::Status kept =
          WriteFileAtomically(path, absl::StrFormat("%.3f", seconds));
      !kept.ok()) {
    LogWarning(absl::StrCat("a blackout will not be predicted from this boot: ",
                            kept.message()));
  }
}

}  // namespace live_update
