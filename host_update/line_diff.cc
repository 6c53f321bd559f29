#include "host_update/line_diff.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace live_update {
namespace {

constexpr size_t kMostLines = 4000;  // 16 million table entries.
constexpr size_t kContext = 2;

struct Line {
  char mark;
  absl::string_view text;
};

// By the longest common subsequence.
std::vector<Line> Compare(const std::vector<absl::string_view>& a,
                          const std::vector<absl::string_view>& b) {
  const size_t width = b.size() + 1;
  std::vector<uint16_t> common((a.size() + 1) * width, 0);  // Of the rests.
  for (size_t i = a.size(); i-- > 0;) {
    for (size_t j = b.size(); j-- > 0;) {
      common[i * width + j] = a[i] == b[j]
                                  ? common[(i + 1) * width + j + 1] + 1
                                  : std::max(common[(i + 1) * width + j],
                                             common[i * width + j + 1]);
    }
  }
  std::vector<Line> lines;
  size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      lines.push_back({' ', a[i++]});
      ++j;
    } else if (j == b.size() ||
               (i < a.size() &&
                common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      lines.push_back({'-', a[i++]});
    } else {
      lines.push_back({'+', b[j++]});
    }
  }
  return lines;
}

}  // namespace

std::string LineDiff(absl::string_view before, absl::string_view after) {
  if (before == after) return "";
  const std::vector<absl::string_view> a = absl::StrSplit(before, '\n');
  const std::vector<absl::string_view> b = absl::StrSplit(after, '\n');
  if (a.size() > kMostLines || b.size() > kMostLines) {
    return absl::StrCat("-(", a.size(), " lines)\n+(", b.size(), " lines)\n");
  }
  const std::vector<Line> lines = Compare(a, b);
  std::vector<bool> shown(lines.size(), false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].mark == ' ') continue;
    const size_t from = i < kContext ? 0 : i - kContext;
    const size_t to = std::min(i + kContext + 1, lines.size());
    std::fill(shown.begin() + static_cast<std::ptrdiff_t>(from),
              shown.begin() + static_cast<std::ptrdiff_t>(to), true);
  }
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!shown[i]) continue;
    if (i > 0 && !shown[i - 1]) absl::StrAppend(&text, "@@\n");
    absl::StrAppend(&text, std::string(1, lines[i].mark), lines[i].text, "\n");
  }
  return text;
}

}  // namespace live_update
