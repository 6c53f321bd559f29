// write_examples DIR: writes the example handover and broken ones to DIR, one
// file each. The golden files of the current version and the fuzzer's corpus
// were made by it; a golden file that has been committed is not written again.

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/format.h"

namespace live_update {
namespace {

absl::Status WriteExamples(const std::string& directory) {
  LU_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes,
                      WriteHandover(ExampleHost(), ExampleVmsWithDigests()));
  const std::string valid(bytes.begin(), bytes.end());
  LU_ASSIGN_OR_RETURN(const std::vector<uint8_t> none,
                      WriteHandover(ExampleHost(), {}));

  const HandoverKey key = ExampleKey();
  LU_ASSIGN_OR_RETURN(
      const std::vector<uint8_t> authenticated,
      WriteHandover(ExampleHost(), ExampleVmsWithDigests(), {.key = &key}));
  LU_ASSIGN_OR_RETURN(const std::vector<uint8_t> last_version,
                      WriteHandover(ExampleHost(), ExampleVmsWithDigests(),
                                    {.version = kOldestHandoverVersion}));

  std::string uncommitted = valid;
  uncommitted.replace(0, 8, 8, '\0');
  std::string huge_record = valid;  // The first record's body_size.
  huge_record.replace(sizeof(HandoverHeader) + 8, 8, 8, '\xff');
  std::string torn_vm = valid;
  torn_vm[200] ^= 1;
  const std::pair<std::string, std::string> examples[] = {
      {absl::StrCat("v", kHandoverVersion, ".handover"), valid},
      {absl::StrCat("v", kHandoverVersion, "_authenticated.handover"),
       std::string(authenticated.begin(), authenticated.end())},
      {absl::StrCat("written_as_v", kOldestHandoverVersion),
       std::string(last_version.begin(), last_version.end())},
      {"empty", ""},
      {"no_vms", std::string(none.begin(), none.end())},
      {"uncommitted", uncommitted},
      {"huge_record", huge_record},
      {"torn_vm", torn_vm},
      {"truncated", valid.substr(0, valid.size() / 2)},
      {"header_only", valid.substr(0, sizeof(HandoverHeader))},
  };
  for (const auto& [name, contents] : examples) {
    LU_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(directory, "/", name),
                                           contents, 0644));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace live_update

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_examples DIR\n");
    return 2;
  }
  const absl::Status status = live_update::WriteExamples(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
