#include "state_preserve/scrub.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/directory.h"
#include "base/status_macros.h"

namespace live_update {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

bool IsZero(const char* bytes, size_t size) {
  return size == 0 ||
         (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

// Overwrites [offset, end), where it isn't zero already: most of a state area
// never held anything.
absl::Status ZeroRange(const UniqueFd& fd, off_t offset, off_t end) {
  static const std::vector<char>& zeros = *new std::vector<char>(kChunkBytes);
  std::vector<char> chunk(kChunkBytes);
  while (offset < end) {
    const size_t wanted =
        std::min(kChunkBytes, static_cast<size_t>(end - offset));
    const ssize_t got = pread(fd.get(), chunk.data(), wanted, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "read");
    if (got == 0) return absl::OkStatus();  // It has become shorter.
    if (!IsZero(chunk.data(), static_cast<size_t>(got))) {
      const ssize_t put =
          pwrite(fd.get(), zeros.data(), static_cast<size_t>(got), offset);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return absl::ErrnoToStatus(errno, "write");
      offset += put;
      continue;
    }
    offset += got;
  }
  return absl::OkStatus();
}

// Holes stay holes: nothing is behind them.
absl::Status Zero(const UniqueFd& fd) {
  off_t offset = 0;
  while (true) {
    const off_t data = lseek(fd.get(), offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return absl::OkStatus();
    if (data < 0) return absl::ErrnoToStatus(errno, "SEEK_DATA");
    const off_t hole = lseek(fd.get(), data, SEEK_HOLE);
    if (hole < 0) return absl::ErrnoToStatus(errno, "SEEK_HOLE");
    LU_RETURN_IF_ERROR(ZeroRange(fd, data, hole));
    offset = hole;
  }
}

}  // namespace

// A write lease is granted only then.
absl::StatusOr<bool> IsOnlyUser(const UniqueFd& fd) {
  // Whoever opens the file while we hold the lease makes the kernel signal us:
  // not with SIGIO, which kills, but with one that is ignored by default.
  if (fcntl(fd.get(), F_SETSIG, SIGURG) != 0) {
    return absl::ErrnoToStatus(errno, "F_SETSIG");
  }
  if (fcntl(fd.get(), F_SETLEASE, F_WRLCK) == 0) return true;
  if (errno == EAGAIN) return false;
  return absl::ErrnoToStatus(errno, "F_SETLEASE");
}

absl::Status ScrubAndUnlink(const UniqueFd& directory, const std::string& name,
                            ScrubOpen open) {
  const UniqueFd fd(openat(directory.get(), name.c_str(),
                           O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.ok() && errno == ENOENT) return absl::OkStatus();
  // Not a file, or another has a lease, and so uses it: nothing to overwrite.
  if (!fd.ok() && (errno == ELOOP || errno == ENXIO || errno == EWOULDBLOCK)) {
    return UnlinkAt(directory, name);
  }
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", name));
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("stat ", name));
  }
  if (S_ISREG(file.st_mode) && file.st_nlink == 1) {
    bool may = open == ScrubOpen::kYes;
    if (!may) {
      LU_ASSIGN_OR_RETURN(may, IsOnlyUser(fd));
    }
    if (may) {
      LU_RETURN_IF_ERROR(Annotate(Zero(fd), absl::StrCat("overwrite ", name)));
    }
  }
  return UnlinkAt(directory, name);
}

absl::Status ScrubTreeAt(const UniqueFd& parent, const std::string& name) {
  return RemoveTreeAt(parent, name,
                      [](const UniqueFd& directory, const std::string& file) {
                        return ScrubAndUnlink(directory, file);
                      });
}

}  // namespace live_update
