// Whether an update jumps by the loader's own means (loader/direct_kexec.h) in
// place of kexec_file_load(2). Only if root says so.

#ifndef HOST_UPDATE_DIRECT_JUMP_H_
#define HOST_UPDATE_DIRECT_JUMP_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "host_update/policy.h"
#include "loader/kexec.h"

namespace live_update {

// What --direct-jump (`asked`: "vmlinux", "bzimage", "off") says or, if that is
// empty, `policy`. Unset: kexec_file_load. kInvalidArgument: another word.
absl::StatusOr<std::optional<loader::DirectEntry>> DecideDirectJump(
    absl::string_view asked, const Policy& policy);

// "no signature is checked; …": what such a jump goes without.
std::string GivenUpBy(loader::DirectEntry entry);

}  // namespace live_update

#endif  // HOST_UPDATE_DIRECT_JUMP_H_
