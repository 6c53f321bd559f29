// Directories held open and worked in by descriptor: no path is resolved twice
// and no symbolic link is followed, whatever someone else does meanwhile.
//
// `name` is always one component. Errors carry it and the system's reason.

#ifndef BASE_DIRECTORY_H_
#define BASE_DIRECTORY_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update {

// Opens a directory by its path, which may lead over symbolic links.
absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path);

// kNotFound: no such name; kFailedPrecondition: it isn't a directory.
absl::StatusOr<UniqueFd> OpenDirectoryAt(const UniqueFd& parent,
                                         const std::string& name);

// Makes it with mode 0700 if it is not there, and opens it.
absl::StatusOr<UniqueFd> MakeDirectoryAt(const UniqueFd& parent,
                                         const std::string& name);

// All names but "." and "..", sorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(
    const UniqueFd& directory);

// Whether `name` exists, as anything.
absl::StatusOr<bool> ExistsAt(const UniqueFd& parent, const std::string& name);

// Never replaces: kAlreadyExists.
absl::Status RenameAt(const UniqueFd& from, const std::string& old_name,
                      const UniqueFd& to, const std::string& new_name);

// How RemoveTreeAt removes what is not a directory. OK if it is gone.
using RemoveFile = std::function<absl::Status(const UniqueFd& directory,
                                              const std::string& name)>;

// OK if there is none.
absl::Status UnlinkAt(const UniqueFd& directory, const std::string& name);

// Removes a file, or a directory with all that is in it. OK if there is none. A
// failure leaves a part; calling again goes on. Does not leave the directory.
absl::Status RemoveTreeAt(const UniqueFd& parent, const std::string& name,
                          const RemoveFile& remove_file = UnlinkAt);

}  // namespace live_update

#endif  // BASE_DIRECTORY_H_
