#include "host_update/libvirt/capabilities_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace live_update {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{8} << 20;  // libvirt's: 300 KiB.
constexpr size_t kMaxFiles = 64;
constexpr absl::string_view kOpen = "<kernelVersion>";
constexpr absl::string_view kClose = "</kernelVersion>";

// `text` with `kernel` in the element that names the kernel; nothing if it is
// there already. kInvalidArgument: there is not one such element.
absl::StatusOr<std::optional<std::string>> WithKernel(
    absl::string_view text, absl::string_view kernel) {
  const size_t open = text.find(kOpen);
  const size_t close = text.find(kClose);
  if (open == absl::string_view::npos || close == absl::string_view::npos ||
      close < open || text.find(kOpen, open + 1) != absl::string_view::npos) {
    return absl::InvalidArgumentError("it names not one kernel");
  }
  const size_t begin = open + kOpen.size();
  const std::string escaped = absl::StrReplaceAll(
      kernel, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
  if (text.substr(begin, close - begin) == escaped) return std::nullopt;
  return absl::StrCat(text.substr(0, begin), escaped, text.substr(close));
}

absl::Status CheckOwner(const UniqueFd& directory, const std::string& name,
                        unsigned owner) {
  struct stat info {};
  if (fstatat(directory.get(), name.c_str(), &info,
              AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    return absl::ErrnoToStatus(errno, "stat");
  }
  if (info.st_uid == owner) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("its owner is user ", info.st_uid, ", not ", owner));
}

// Whether the file was changed.
absl::StatusOr<bool> KeepFile(const UniqueFd& directory,
                              const std::string& name, absl::string_view kernel,
                              unsigned owner) {
  LU_RETURN_IF_ERROR(CheckOwner(directory, name, owner));
  LU_ASSIGN_OR_RETURN(const std::string text,
                      ReadFileAt(directory, name, kMaxFileBytes));
  LU_ASSIGN_OR_RETURN(const auto changed, WithKernel(text, kernel));
  if (!changed.has_value()) return false;
  // By the descriptor: whoever moves the directory away moves this along.
  LU_RETURN_IF_ERROR(WriteFileAtomically(
      absl::StrCat("/proc/self/fd/", directory.get(), "/", name), *changed));
  return true;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> KeepCapabilities(
    const std::string& path, absl::string_view kernel, unsigned owner) {
  LU_ASSIGN_OR_RETURN(const UniqueFd directory, OpenDirectory(path));
  LU_RETURN_IF_ERROR(Annotate(CheckOwner(directory, "", owner), path));
  LU_ASSIGN_OR_RETURN(const auto names, ListDirectory(directory));
  if (names.size() > kMaxFiles) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", names.size(), " files, more than ", kMaxFiles,
                     "; they are left as they are"));
  }
  std::vector<std::string> kept;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".xml")) continue;
    const absl::StatusOr<bool> changed =
        KeepFile(directory, name, kernel, owner);
    if (!changed.ok()) {
      LogWarning(absl::StrCat(
          path, "/", name, " is left as it is: ", changed.status().message()));
    } else if (*changed) {
      kept.push_back(absl::StrCat(path, "/", name));
    }
  }
  return kept;
}

}  // namespace live_update
