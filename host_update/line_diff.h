// What differs between two texts, line by line.

#ifndef HOST_UPDATE_LINE_DIFF_H_
#define HOST_UPDATE_LINE_DIFF_H_

#include <string>

#include "absl/strings/string_view.h"

namespace live_update {

// The lines of both, those that are only in `before` after "-", only in `after`
// after "+", in both after " "; of the last, at most two next to a change.
// Empty if nothing differs. For texts of up to some thousand lines: longer ones
// are told apart as a whole.
std::string LineDiff(absl::string_view before, absl::string_view after);

}  // namespace live_update

#endif  // HOST_UPDATE_LINE_DIFF_H_
