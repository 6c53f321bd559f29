// Overwrites memory that nobody will claim any more, before its blocks go back
// to the file system.

#ifndef STATE_PRESERVE_SCRUB_H_
#define STATE_PRESERVE_SCRUB_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update {

// Whether `fd` is the one open file description of its file, in any process. A
// mapping counts, as it keeps the description that it was made of.
absl::StatusOr<bool> IsOnlyUser(const UniqueFd& fd);

// Whether what somebody has open is overwritten all the same.
enum class ScrubOpen { kNo, kYes };

// Unlinks the file `name` in `directory`. If that is its last name, what it
// holds is overwritten with zeros first, but not (kNo) if anybody has it open:
// memory that a VM may still run on is never touched. Fails before it unlinks
// anything. OK if there is no such file.
absl::Status ScrubAndUnlink(const UniqueFd& directory, const std::string& name,
                            ScrubOpen open = ScrubOpen::kNo);

// Removes `name` in `parent`, a file or a folder with all that is in it, files
// as ScrubAndUnlink with kNo does. OK if there is none.
absl::Status ScrubTreeAt(const UniqueFd& parent, const std::string& name);

}  // namespace live_update

#endif  // STATE_PRESERVE_SCRUB_H_
