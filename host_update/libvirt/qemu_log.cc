#include "host_update/libvirt/qemu_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"

namespace live_update {
namespace {

constexpr uint64_t kMostBytes = uint64_t{16} << 10;
constexpr size_t kMostLines = 5;

uint64_t SizeOf(const UniqueFd& file) {
  const off_t size = lseek(file.get(), 0, SEEK_END);
  return size < 0 ? 0 : static_cast<uint64_t>(size);
}

UniqueFd Open(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace

QemuLog::QemuLog(absl::string_view log_directory, absl::string_view vm_name)
    : path_(absl::StrCat(log_directory, "/", vm_name, ".log")) {
  if (const UniqueFd file = Open(path_); file.ok()) start_ = SizeOf(file);
}

std::string QemuLog::NewErrors(absl::string_view known) const {
  const UniqueFd file = Open(path_);
  if (!file.ok()) return "";
  const uint64_t size = SizeOf(file);
  // Rotated meanwhile: all of it is new.
  const uint64_t start = start_ <= size ? start_ : 0;
  const uint64_t bytes = std::min(size - start, kMostBytes);
  std::string text(bytes, '\0');
  const ssize_t n = pread(file.get(), text.data(), text.size(),
                          static_cast<off_t>(size - bytes));
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  // QEMU's lines have a time before its name; the rest is libvirt's record of
  // the command line.
  std::vector<absl::string_view> lines;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t name = line.find("Z qemu");
    if (name == absl::string_view::npos) continue;
    const absl::string_view message = line.substr(name + 2);
    if (!absl::StrContains(known, message) &&
        !absl::StrContains(message, "terminating on signal")) {
      lines.push_back(message);
    }
  }
  if (lines.empty()) return "";
  if (lines.size() > kMostLines) {
    lines.erase(lines.begin(), lines.end() - kMostLines);
  }
  return absl::StrCat("; QEMU's log: ", absl::StrJoin(lines, "; "));
}

}  // namespace live_update
