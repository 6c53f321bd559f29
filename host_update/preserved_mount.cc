#include "host_update/preserved_mount.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/checked_math.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "loader/memmap.h"

namespace live_update {
namespace {

constexpr uint64_t kMaxMountinfo = uint64_t{16} << 20;
constexpr size_t kMaxMounts = 100000;
constexpr uint64_t kMaxSysfs = 4096;
constexpr uint64_t kSysfsSector = 512;  // Whatever the device's own sector is.

// "\040" -> " ", as the kernel escapes blanks in mountinfo.
std::string Unescape(absl::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](size_t at) {
      return text[at] >= '0' && text[at] <= '7';
    };
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) &&
        octal(i + 2) && octal(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 +
                                 (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/pmem0 rw,dax=always"
absl::StatusOr<Mount> ParseMount(absl::string_view line) {
  const absl::Status malformed = absl::InvalidArgumentError(
      absl::StrCat("not a line of mountinfo: \"", line.substr(0, 120), "\""));
  const std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(line, absl::MaxSplits(" - ", 1));
  const std::vector<absl::string_view> left = absl::StrSplit(halves.first, ' ');
  const std::vector<absl::string_view> right =
      absl::StrSplit(halves.second, ' ');
  if (left.size() < 6 || right.size() < 3) return malformed;
  const std::vector<absl::string_view> numbers = absl::StrSplit(left[2], ':');
  Mount mount;
  if (numbers.size() != 2 || !absl::SimpleAtoi(numbers[0], &mount.major) ||
      !absl::SimpleAtoi(numbers[1], &mount.minor)) {
    return malformed;
  }
  mount.root = Unescape(left[3]);
  mount.mount_point = Unescape(left[4]);
  mount.mount_options = absl::StrSplit(left[5], ',');
  mount.file_system = std::string(right[0]);
  mount.source = Unescape(right[1]);
  mount.options = absl::StrSplit(right[2], ',');
  return mount;
}

bool Contains(absl::string_view folder, absl::string_view path) {
  if (folder == "/") return true;
  return absl::ConsumePrefix(&path, folder) &&
         (path.empty() || path.front() == '/');
}

PreservedMount::Dax DaxOf(const Mount& mount) {
  for (const std::string& option : mount.options) {
    if (option == "dax" || option == "dax=always") {
      return PreservedMount::Dax::kAlways;
    }
    if (option == "dax=inode") return PreservedMount::Dax::kPerFile;
  }
  return PreservedMount::Dax::kNever;
}

// A number in a file of /sys: decimal, or hexadecimal after 0x.
absl::StatusOr<uint64_t> ReadNumber(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxSysfs));
  const auto number =
      loader::ParseSize(absl::StripTrailingAsciiWhitespace(text));
  if (!number.ok()) return Annotate(number.status(), path);
  return *number;
}

absl::StatusOr<uint64_t> ReadSectors(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const uint64_t sectors, ReadNumber(path));
  const auto bytes = CheckedMultiply(sectors, kSysfsSector);
  if (bytes.has_value()) return *bytes;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", sectors));
}

// Where the block device of `mount` lies in physical memory.
absl::StatusOr<loader::PhysRange> RangeOf(const std::string& root,
                                          const Mount& mount) {
  const std::string device =
      absl::StrCat(root, "/sys/dev/block/", mount.major, ":", mount.minor);
  const absl::StatusOr<uint64_t> size = ReadSectors(device + "/size");
  if (!size.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(mount.source, " is not a block device"));
  }
  uint64_t offset = 0;
  std::string whole = device;
  if (access((device + "/partition").c_str(), F_OK) == 0) {
    LU_ASSIGN_OR_RETURN(offset, ReadSectors(device + "/start"));
    whole += "/..";
  }
  const absl::StatusOr<uint64_t> resource =
      ReadNumber(whole + "/device/resource");
  if (absl::IsPermissionDenied(resource.status())) return resource.status();
  if (!resource.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(mount.source, " is not a pmem device"));
  }
  const auto start = CheckedAdd(*resource, offset);
  if (!start.has_value() || *size == 0 ||
      !CheckedAdd(*start, *size).has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(mount.source, " has no sensible range"));
  }
  return loader::PhysRange{.start = *start, .size_bytes = *size};
}

}  // namespace

absl::StatusOr<std::vector<Mount>> ParseMountinfo(absl::string_view text) {
  std::vector<Mount> mounts;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty()) continue;
    if (mounts.size() == kMaxMounts) {
      return absl::InvalidArgumentError(
          absl::StrCat("more than ", kMaxMounts, " mounts"));
    }
    LU_ASSIGN_OR_RETURN(Mount mount, ParseMount(line));
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

absl::StatusOr<std::vector<Mount>> ReadMounts(const std::string& root) {
  LU_ASSIGN_OR_RETURN(const std::string text,
                      ReadFile(root + "/proc/1/mountinfo", kMaxMountinfo));
  return ParseMountinfo(text);
}

const Mount* MountOf(const std::vector<Mount>& mounts, absl::string_view path) {
  const Mount* best = nullptr;
  for (const Mount& mount : mounts) {
    if (Contains(mount.mount_point, path) &&
        (best == nullptr ||
         mount.mount_point.size() >= best->mount_point.size())) {
      best = &mount;
    }
  }
  return best;
}

absl::StatusOr<PreservedMount> ReadPreservedMount(
    const std::string& root, const std::string& directory) {
  PreservedMount preserved;
  preserved.directory = directory;
  const std::string path = root + directory;
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return absl::ErrnoToStatus(errno, directory);
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is not a directory"));
  }
  struct statvfs space {};
  if (statvfs(path.c_str(), &space) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("statvfs ", directory));
  }
  preserved.device = info.st_dev;
  preserved.total_bytes = uint64_t{space.f_blocks} * space.f_frsize;
  preserved.free_bytes = uint64_t{space.f_bavail} * space.f_frsize;

  LU_ASSIGN_OR_RETURN(const std::vector<Mount> mounts, ReadMounts(root));
  const Mount* mount = MountOf(mounts, directory);
  if (mount == nullptr) {
    return absl::NotFoundError(absl::StrCat(directory, " lies in no mount"));
  }
  preserved.mount = *mount;
  preserved.dax = DaxOf(*mount);
  preserved.range = RangeOf(root, *mount);
  return preserved;
}

}  // namespace live_update
