// Runs the sweep and prints one JSON object for each case, a line each:
// {"case": …, "outcome": …, "detail": …}. With an argument, of those cases only
// whose name begins so. Exits 0 whatever came out.

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "testing/faults/sweep.h"

namespace {

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto& sweep_case : live_update::testing::AllSweepCases()) {
    if (argc > 1 &&
        live_update::testing::CaseName(sweep_case).rfind(argv[1], 0) != 0) {
      continue;
    }
    const auto row = live_update::testing::RunSweepCase(sweep_case);
    const std::string line = absl::StrCat(
        "{\"case\": ", Quoted(row.name), ", \"outcome\": ",
        Quoted(std::string(live_update::testing::OutcomeName(row.outcome))),
        ", \"detail\": ", Quoted(row.detail), "}");
    std::puts(line.c_str());
    std::fflush(stdout);
  }
  return 0;
}
