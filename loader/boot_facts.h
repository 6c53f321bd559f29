// BootFacts of the kernel that runs, from /sys.

#ifndef LOADER_BOOT_FACTS_H_
#define LOADER_BOOT_FACTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "loader/boot_params.h"

namespace live_update::loader {

// Reads them below `root` ("" but in tests). A host of which the kernel uses no
// EFI at run time (efi=noruntime) has no EfiFacts, but an acpi_rsdp.
// kFailedPrecondition: an EFI host that does not tell all that the next kernel
// has to be told; the message names the file.
absl::StatusOr<BootFacts> ReadBootFacts(const std::string& root);

// Whether the CPU uses 5-level page tables, by the text of /proc/cpuinfo.
bool UsesFiveLevelPaging(absl::string_view cpuinfo);

}  // namespace live_update::loader

#endif  // LOADER_BOOT_FACTS_H_
