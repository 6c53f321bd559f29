#include "base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace live_update {
namespace {

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::StatusOr<std::string> ReadAll(const UniqueFd& fd, uint64_t limit_bytes) {
  std::string contents;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "read");
    if (got == 0) return contents;
    if (static_cast<uint64_t>(got) > limit_bytes - contents.size()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("larger than the ", limit_bytes, " bytes allowed"));
    }
    contents.append(buffer.data(), static_cast<size_t>(got));
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     uint64_t limit_bytes) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  absl::StatusOr<std::string> contents = ReadAll(fd, limit_bytes);
  if (!contents.ok()) return Annotate(contents.status(), path);
  return contents;
}

absl::StatusOr<std::string> ReadFileAt(const UniqueFd& directory,
                                       const std::string& name,
                                       uint64_t limit_bytes) {
  const UniqueFd fd(openat(directory.get(), name.c_str(),
                           O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", name));
  absl::StatusOr<std::string> contents = ReadAll(fd, limit_bytes);
  if (!contents.ok()) return Annotate(contents.status(), name);
  return contents;
}

absl::Status WriteAll(const UniqueFd& fd, absl::string_view contents) {
  while (!contents.empty()) {
    const ssize_t put = write(fd.get(), contents.data(), contents.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return absl::ErrnoToStatus(errno, "write");
    if (put == 0) return absl::AbortedError("write: no progress");
    contents.remove_prefix(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

absl::Status Sync(const UniqueFd& fd) {
  if (fsync(fd.get()) != 0) return absl::ErrnoToStatus(errno, "fsync");
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  return Annotate(Sync(fd), path);
}

absl::Status RemoveIfThere(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("remove ", path));
}

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view contents, mode_t mode) {
  std::string temporary = absl::StrCat(path, ".XXXXXX");
  const UniqueFd fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.ok()) {
    return absl::ErrnoToStatus(errno, absl::StrCat("create ", temporary));
  }
  absl::Cleanup remove = [&temporary] { unlink(temporary.c_str()); };
  if (fchmod(fd.get(), mode) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("chmod ", temporary));
  }
  LU_RETURN_IF_ERROR(Annotate(WriteAll(fd, contents), temporary));
  LU_RETURN_IF_ERROR(Annotate(Sync(fd), temporary));
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("rename to ", path));
  }
  std::move(remove).Cancel();
  return SyncDirectory(ParentOf(path));
}

}  // namespace live_update
