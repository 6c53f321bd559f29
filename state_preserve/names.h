// Names that become file names or keys, and come from others.

#ifndef STATE_PRESERVE_NAMES_H_
#define STATE_PRESERVE_NAMES_H_

#include <string>

#include "absl/strings/string_view.h"

namespace live_update {

// A UUID as libvirt prints it: 8-4-4-4-12 lower-case hexadecimal digits.
bool IsUuid(absl::string_view text);

// 1 to 64 letters, digits, '-', '_' and '.', not starting with '.': safe as a
// file name.
bool IsSafeName(absl::string_view text);

// A file name that stands for `name`, whatever is in it, and for no other:
// "/rom@etc/acpi/tables" becomes "%2From%40etc%2Facpi%2Ftables".
std::string EncodeFileName(absl::string_view name);

}  // namespace live_update

#endif  // STATE_PRESERVE_NAMES_H_
