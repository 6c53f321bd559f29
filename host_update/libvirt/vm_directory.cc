#include "host_update/libvirt/vm_directory.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/directory.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace live_update {
namespace {

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

// Makes `path` if it is not there, and opens it.
absl::StatusOr<UniqueFd> MakeAndOpen(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", path));
  }
  UniqueFd fd(open(path.c_str(), O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  return fd;
}

// Lets other users pass through, not more.
absl::Status MakePassable(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const UniqueFd fd, MakeAndOpen(path));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 ||
      fchmod(fd.get(), (info.st_mode & 07777) | S_IXGRP | S_IXOTH) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("chmod ", path));
  }
  return absl::OkStatus();
}

absl::Status Remove(const std::string& parent, const std::string& name) {
  LU_ASSIGN_OR_RETURN(const UniqueFd directory, OpenDirectory(parent));
  return RemoveTreeAt(directory, name);
}

}  // namespace

VmDirectory::VmDirectory(std::string parent, std::string uuid)
    : parent_(std::move(parent)),
      uuid_(std::move(uuid)),
      path_(absl::StrCat(parent_, "/", uuid_)) {}

VmDirectory::~VmDirectory() {
  if (const absl::Status status = Remove(parent_, uuid_); !status.ok()) {
    LogWarning(absl::StrCat("remove ", path_, ": ", status.message()));
  }
}

absl::StatusOr<std::unique_ptr<VmDirectory>> VmDirectory::Create(
    const std::string& runtime_directory, const std::string& uuid) {
  if (!IsUuid(uuid)) {
    return absl::InvalidArgumentError(absl::StrCat("no UUID of a VM: ", uuid));
  }
  LU_RETURN_IF_ERROR(
      MakePassable(std::filesystem::path(runtime_directory).parent_path()));
  LU_RETURN_IF_ERROR(MakePassable(runtime_directory));
  LU_RETURN_IF_ERROR(Remove(runtime_directory, uuid));
  std::unique_ptr<VmDirectory> directory(
      new VmDirectory(runtime_directory, uuid));
  LU_RETURN_IF_ERROR(MakePassable(directory->path()));
  return directory;
}

absl::StatusOr<std::string> VmDirectory::MakeFor(absl::string_view name,
                                                 uid_t uid, gid_t gid) const {
  std::string path = absl::StrCat(path_, "/", name);
  LU_ASSIGN_OR_RETURN(const UniqueFd fd, MakeAndOpen(path));
  if (fchown(fd.get(), uid, gid) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("chown ", path));
  }
  return path;
}

}  // namespace live_update
