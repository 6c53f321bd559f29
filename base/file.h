// Whole small files: read with a limit, written so that a crash leaves the old
// contents or the new, never a part.

#ifndef BASE_FILE_H_
#define BASE_FILE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace live_update {

// The contents of a file (also of /proc and /sys, whose files claim to be
// empty). kNotFound: there is none. kResourceExhausted: it holds more than
// `limit_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     uint64_t limit_bytes);

// The same for `name` in an open directory. `name` must not be a symbolic link.
absl::StatusOr<std::string> ReadFileAt(const UniqueFd& directory,
                                       const std::string& name,
                                       uint64_t limit_bytes);

// What is left to read of `fd`, under the same limit.
absl::StatusOr<std::string> ReadAll(const UniqueFd& fd, uint64_t limit_bytes);

// Writes all of `contents` at the file position; kAborted if the file took only
// a part.
absl::Status WriteAll(const UniqueFd& fd, absl::string_view contents);

// Replaces or makes `path` with `contents`: a temporary file in the same
// directory, fsync, rename, fsync of the directory. After a failure `path` is
// as it was (or, if only the last fsync failed, maybe the new file).
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view contents,
                                 mode_t mode = 0600);

// OK if there is none. The directory is not synced.
absl::Status RemoveIfThere(const std::string& path);

// fsync of a file or directory: the names in a directory are on disk then.
absl::Status Sync(const UniqueFd& fd);
absl::Status SyncDirectory(const std::string& path);

}  // namespace live_update

#endif  // BASE_FILE_H_
