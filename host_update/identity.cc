#include "host_update/identity.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace live_update {

std::string NewUpdateId() {
  absl::StatusOr<std::string> uuid =
      ReadFile("/proc/sys/kernel/random/uuid", 64);
  if (!uuid.ok()) return "00000000-0000-0000-0000-000000000000";
  return std::string(absl::StripAsciiWhitespace(*uuid));
}

std::string ThisBootId() {
  const absl::StatusOr<std::string> id =
      ReadFile("/proc/sys/kernel/random/boot_id", 64);
  return id.ok() ? std::string(absl::StripAsciiWhitespace(*id)) : "";
}

absl::StatusOr<uint64_t> ReadCounter(const std::string& state_dir,
                                     const std::string& name) {
  const std::string path = absl::StrCat(state_dir, "/", name);
  absl::StatusOr<std::string> text = ReadFile(path, 64);
  if (absl::IsNotFound(text.status())) return 0;
  if (!text.ok()) return text.status();
  uint64_t value = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) {
    return absl::DataLossError(
        absl::StrCat(path, " holds no number; look at it, then remove it"));
  }
  return value;
}

absl::Status WriteCounter(const std::string& state_dir, const std::string& name,
                          uint64_t value) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  return WriteFileAtomically(absl::StrCat(state_dir, "/", name),
                             absl::StrCat(value, "\n"), 0600);
}

}  // namespace live_update
