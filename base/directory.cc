#include "base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace live_update {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

// Trees here are three deep; this only keeps the stack bounded.
constexpr int kMaxDepth = 16;

absl::Status RemoveTree(const UniqueFd& parent, const std::string& name,
                        int depth, const RemoveFile& remove_file) {
  struct stat file {};
  if (fstatat(parent.get(), name.c_str(), &file, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrCat("stat ", name));
  }
  if (!S_ISDIR(file.st_mode)) return remove_file(parent, name);
  if (depth == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": deeper than ", kMaxDepth, " directories"));
  }
  {
    LU_ASSIGN_OR_RETURN(const UniqueFd directory,
                        OpenDirectoryAt(parent, name));
    LU_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                        ListDirectory(directory));
    for (const std::string& inner : names) {
      LU_RETURN_IF_ERROR(
          Annotate(RemoveTree(directory, inner, depth - 1, remove_file), name));
    }
  }
  if (unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) != 0 &&
      errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("rmdir ", name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd fd(open(path.c_str(), kOpenFlags));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> OpenDirectoryAt(const UniqueFd& parent,
                                         const std::string& name) {
  UniqueFd fd(openat(parent.get(), name.c_str(), kOpenFlags | O_NOFOLLOW));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", name));
  return fd;
}

absl::StatusOr<UniqueFd> MakeDirectoryAt(const UniqueFd& parent,
                                         const std::string& name) {
  if (mkdirat(parent.get(), name.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", name));
  }
  return OpenDirectoryAt(parent, name);
}

absl::StatusOr<std::vector<std::string>> ListDirectory(
    const UniqueFd& directory) {
  // A descriptor of its own: fdopendir() takes it, and the read position with
  // it.
  UniqueFd own(openat(directory.get(), ".", kOpenFlags));
  if (!own.ok()) return absl::ErrnoToStatus(errno, "open directory");
  DIR* stream = fdopendir(own.get());
  if (stream == nullptr) return absl::ErrnoToStatus(errno, "fdopendir");
  [[maybe_unused]] const int taken = own.Release();
  absl::Cleanup close = [stream] { closedir(stream); };

  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream);
    if (entry == nullptr) break;
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return absl::ErrnoToStatus(errno, "readdir");
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<bool> ExistsAt(const UniqueFd& parent, const std::string& name) {
  struct stat file {};
  if (fstatat(parent.get(), name.c_str(), &file, AT_SYMLINK_NOFOLLOW) == 0) {
    return true;
  }
  if (errno == ENOENT) return false;
  return absl::ErrnoToStatus(errno, absl::StrCat("stat ", name));
}

absl::Status RenameAt(const UniqueFd& from, const std::string& old_name,
                      const UniqueFd& to, const std::string& new_name) {
  if (renameat2(from.get(), old_name.c_str(), to.get(), new_name.c_str(),
                RENAME_NOREPLACE) != 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("rename ", old_name, " to ", new_name));
  }
  return absl::OkStatus();
}

absl::Status UnlinkAt(const UniqueFd& directory, const std::string& name) {
  if (unlinkat(directory.get(), name.c_str(), 0) == 0 || errno == ENOENT) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("unlink ", name));
}

absl::Status RemoveTreeAt(const UniqueFd& parent, const std::string& name,
                          const RemoveFile& remove_file) {
  return RemoveTree(parent, name, kMaxDepth, remove_file);
}

}  // namespace live_update
