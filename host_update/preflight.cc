#include "host_update/preflight.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "host_update/preflight_findings.h"

namespace live_update {
namespace {

absl::StatusOr<RamPlace> PlaceOf(const GuestRam& ram) {
  if (!ram.fd.ok()) {
    return absl::FailedPreconditionError("there is no descriptor of it");
  }
  struct statx info {};
  if (statx(ram.fd.get(), "", AT_EMPTY_PATH, STATX_NLINK, &info) != 0) {
    return absl::ErrnoToStatus(errno, "statx");
  }
  return RamPlace{.device = makedev(info.stx_dev_major, info.stx_dev_minor),
                  .links = info.stx_nlink,
                  .dax = (info.stx_attributes & STATX_ATTR_DAX) != 0};
}

// The leading number of "10", "10~rc1".
int LeadingNumber(absl::string_view text) {
  int number = -1;
  const size_t end = text.find_first_not_of("0123456789");
  return absl::SimpleAtoi(text.substr(0, end), &number) ? number : -1;
}

}  // namespace

std::string Size(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  const bool whole = value == static_cast<double>(static_cast<uint64_t>(value));
  return absl::StrFormat("%.*f %s", whole ? 0 : 1, value, kUnits[unit]);
}

bool IsAtLeast(absl::string_view version, int major, int minor) {
  const std::vector<absl::string_view> parts = absl::StrSplit(version, '.');
  const int its_major = LeadingNumber(parts[0]);
  const int its_minor = parts.size() > 1 ? LeadingNumber(parts[1]) : 0;
  return its_major > major || (its_major == major && its_minor >= minor);
}

ExaminedVm MakeExaminedVm(VmInfo info, absl::StatusOr<VmFacts> facts) {
  ExaminedVm vm;
  vm.info = std::move(info);
  vm.facts = std::move(facts);
  if (vm.facts.ok()) {
    for (const GuestRam& ram : vm.facts->ram) vm.places.push_back(PlaceOf(ram));
  }
  return vm;
}

CheckReport Evaluate(const PreflightInput& input) {
  CheckReport report;
  EvaluateHost(input, &report);
  if (input.target != nullptr) EvaluateTarget(input, &report);
  for (const ExaminedVm& vm : input.vms) EvaluateVm(vm, input, &report);
  if (input.vms.empty()) {
    Findings("host", &report).Ok("VMS", "there is no VM: nothing to carry");
  }
  report.set_go(std::none_of(
      report.findings().begin(), report.findings().end(),
      [](const Finding& f) { return f.severity() == Finding::ERROR; }));
  return report;
}

}  // namespace live_update
