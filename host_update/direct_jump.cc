#include "host_update/direct_jump.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace live_update {

using loader::DirectEntry;

absl::StatusOr<std::optional<DirectEntry>> DecideDirectJump(
    absl::string_view asked, const Policy& policy) {
  if (asked == "vmlinux") return DirectEntry::kVmlinux;
  if (asked == "bzimage") return DirectEntry::kBzImage;
  if (asked == "off") return std::nullopt;
  if (!asked.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(asked.substr(0, 40)),
                     "\" is no direct jump: vmlinux, bzimage, off"));
  }
  switch (policy.direct_jump()) {
    case Policy::VMLINUX:
      return DirectEntry::kVmlinux;
    case Policy::BZIMAGE:
      return DirectEntry::kBzImage;
    default:
      return std::nullopt;
  }
}

std::string GivenUpBy(DirectEntry entry) {
  return absl::StrCat(
      "kexec_load: no signature is checked",
      entry == DirectEntry::kVmlinux
          ? "; the kernel runs at the addresses it is linked at (no KASLR)"
          : "");
}

}  // namespace live_update
