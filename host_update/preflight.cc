#include "host_update/preflight.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
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
  struct statfs file_system {};
  if (fstatfs(ram.fd.get(), &file_system) != 0) {
    return absl::ErrnoToStatus(errno, "fstatfs");
  }
  return RamPlace{.device = makedev(info.stx_dev_major, info.stx_dev_minor),
                  .links = info.stx_nlink,
                  .dax = (info.stx_attributes & STATX_ATTR_DAX) != 0,
                  .shmem = file_system.f_type == TMPFS_MAGIC};
}

// The leading number of "10", "10~rc1".
int LeadingNumber(absl::string_view text) {
  int number = -1;
  const size_t end = text.find_first_not_of("0123456789");
  return absl::SimpleAtoi(text.substr(0, end), &number) ? number : -1;
}

void Override(absl::Span<const std::string> codes, CheckReport* report) {
  for (Finding& finding : *report->mutable_findings()) {
    if (finding.severity() != Finding::ERROR ||
        std::find(codes.begin(), codes.end(), finding.code()) == codes.end() ||
        !CheckOverride(finding.code()).ok()) {
      continue;
    }
    finding.set_severity(Finding::WARNING);
    finding.set_overridden(true);
    finding.set_message(absl::StrCat("overridden: ", finding.message()));
  }
}

}  // namespace

absl::Status CheckOverride(absl::string_view code) {
  if (std::find(std::begin(kOverridable), std::end(kOverridable), code) !=
      std::end(kOverridable)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      code,
      " can't be overridden: it is no finding, or one with which VMs would be "
      "lost or no update works; do what its remedy says. These can be: ",
      absl::StrJoin(kOverridable, ", ")));
}

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
  Override(input.overrides, &report);
  SetGo(&report);
  return report;
}

}  // namespace live_update
