#include "host_update/cli/operator_key.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace live_update {

absl::StatusOr<std::shared_ptr<const HandoverKey>> LoadOperatorKey(
    const std::string& path, const char* credentials_directory) {
  std::string source = path;
  const bool is_credential = path.empty();
  if (is_credential) {
    if (credentials_directory == nullptr) return nullptr;
    source = absl::StrCat(credentials_directory, "/handover-key");
  }
  absl::StatusOr<HandoverKey> key = HandoverKey::FromFile(source);
  if (is_credential && absl::IsNotFound(key.status())) return nullptr;
  if (!key.ok()) return key.status();
  return std::make_shared<const HandoverKey>(*std::move(key));
}

}  // namespace live_update
