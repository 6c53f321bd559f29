#include "host_update/cli/output.h"

#include <cstdio>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "host_update/report/report_json.h"

namespace live_update {

void PrintedOutput::Put(const google::protobuf::Message& message,
                        const std::string& text) {
  std::string output = text;
  if (json_) {
    absl::StatusOr<std::string> json = ToJson(message);
    output = json.ok() ? *json : absl::StrCat(json.status().message(), "\n");
  }
  std::fputs(output.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace live_update
