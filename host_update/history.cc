#include "host_update/history.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "host_update/report/report_json.h"

namespace live_update {
namespace {

constexpr uint64_t kLargestReport = 64 << 20;  // Bytes.

std::string HistoryDir(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/history");
}

std::string ReportPath(const std::string& state_dir, const std::string& id) {
  return absl::StrCat(HistoryDir(state_dir), "/", id, ".json");
}

}  // namespace

bool IsUpdateId(const std::string& id) {
  return !id.empty() && id.size() <= 64 &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  c == '-';
         });
}

absl::Status WriteReport(const std::string& state_dir,
                         const UpdateReport& report) {
  if (!IsUpdateId(report.update_id())) {
    return absl::InvalidArgumentError(
        absl::StrCat("no update id: \"", report.update_id(), "\""));
  }
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  // What VMs are called and how they stand is root's business.
  if (mkdir(HistoryDir(state_dir).c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("make ", HistoryDir(state_dir)));
  }
  LU_ASSIGN_OR_RETURN(const std::string json, ToJson(report));
  LU_RETURN_IF_ERROR(WriteFileAtomically(
      ReportPath(state_dir, report.update_id()), json, 0600));
  return WriteFileAtomically(absl::StrCat(HistoryDir(state_dir), "/last"),
                             report.update_id(), 0600);
}

absl::StatusOr<UpdateReport> ReadReport(const std::string& state_dir,
                                        const std::string& update_id) {
  std::string id = update_id;
  if (id.empty()) {
    absl::StatusOr<std::string> last =
        ReadFile(absl::StrCat(HistoryDir(state_dir), "/last"), 64);
    if (absl::IsNotFound(last.status())) {
      return absl::NotFoundError("this host has no update on record");
    }
    if (!last.ok()) return last.status();
    id = std::string(absl::StripAsciiWhitespace(*last));
  }
  if (!IsUpdateId(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", id, "\" is no update id"));
  }
  LU_ASSIGN_OR_RETURN(const std::string json,
                      ReadFile(ReportPath(state_dir, id), kLargestReport));
  UpdateReport report;
  const auto status =
      google::protobuf::util::JsonStringToMessage(json, &report);
  if (!status.ok()) {
    return absl::DataLossError(
        absl::StrCat(ReportPath(state_dir, id), ": ", status.ToString()));
  }
  return report;
}

std::vector<UpdateReport> ReadReports(const std::string& state_dir,
                                      size_t limit) {
  std::vector<UpdateReport> reports;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(HistoryDir(state_dir), error)) {
    if (entry.path().extension() != ".json") continue;
    absl::StatusOr<UpdateReport> report =
        ReadReport(state_dir, entry.path().stem().string());
    if (report.ok()) {
      reports.push_back(*std::move(report));
    } else {
      LogWarning(report.status().message());
    }
  }
  std::sort(reports.begin(), reports.end(),
            [](const UpdateReport& a, const UpdateReport& b) {
              return a.started_at() > b.started_at();
            });
  if (reports.size() > limit) reports.resize(limit);
  return reports;
}

void ForgetOldFailures(const std::string& state_dir, size_t keep) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (const auto& entry :
       fs::directory_iterator(HistoryDir(state_dir), error)) {
    if (entry.path().extension() != ".json") continue;
    files.emplace_back(entry.last_write_time(error), entry.path());
  }
  if (files.size() <= keep) return;
  std::sort(files.rbegin(), files.rend());
  for (size_t i = keep; i < files.size(); ++i) {
    const auto report = ReadReport(state_dir, files[i].second.stem().string());
    if (report.ok() && report->result() == UpdateReport::FAILED_UNHARMED) {
      fs::remove(files[i].second, error);
    }
  }
}

}  // namespace live_update
