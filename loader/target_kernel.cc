#include "loader/target_kernel.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "loader/command_line.h"
#include "loader/initrd_files.h"

namespace live_update::loader {
namespace {

absl::StatusOr<UniqueFd> OpenFile(const std::string& path) {
  // O_NONBLOCK: a pipe must not hold the open up.
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("stat ", path));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a file"));
  }
  return fd;
}

void ReadKernel(const TargetRequest& request, const KernelReader& read,
                TargetKernel* target) {
  absl::StatusOr<UniqueFd> fd = OpenFile(request.kernel_path);
  if (!fd.ok()) {
    target->image = fd.status();
    target->facts = fd.status();
    return;
  }
  target->kernel = *std::move(fd);
  KernelReading reading = read(target->kernel);
  target->image = std::move(reading.image);
  target->facts = std::move(reading.facts);
}

absl::StatusOr<uint64_t> ReadInitrd(const UniqueFd& fd) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, "stat");
  const uint64_t size = info.st_size > 0 ? info.st_size : 0;
  if (size > kMaxInitrdBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(size, " bytes; the largest initrd that is taken has ",
                     kMaxInitrdBytes));
  }
  std::array<char, 16> start{};
  const ssize_t count = pread(fd.get(), start.data(), start.size(), 0);
  if (count < 0) return absl::ErrnoToStatus(errno, "read");
  LU_RETURN_IF_ERROR(CheckInitrd({start.data(), static_cast<size_t>(count)}));
  return size;
}

void OpenInitrd(const TargetRequest& request, TargetKernel* target) {
  if (request.initrd_path.empty()) {
    target->initrd_bytes = uint64_t{0};
    return;
  }
  absl::StatusOr<UniqueFd> fd = OpenFile(request.initrd_path);
  if (!fd.ok()) {
    target->initrd_bytes = fd.status();
    return;
  }
  target->initrd = *std::move(fd);
  target->initrd_bytes = ReadInitrd(target->initrd);
}

void MakeCommandLine(const TargetRequest& request, TargetKernel* target) {
  auto line = TargetCommandLine(request.running_command_line, request.append,
                                request.first_boot);
  target->command_line_status = line.status();
  if (!line.ok()) return;
  target->command_line_status =
      CheckKeepsMemory(request.running_command_line, *line);
  target->command_line = *std::move(line);
}

absl::StatusOr<KernelConfig> ReadConfig(const TargetRequest& request,
                                        const TargetKernel& target) {
  if (target.facts.ok() && !target.facts->embedded_config.empty()) {
    return KernelConfig::Parse(target.facts->embedded_config);
  }
  return ReadInstalledConfig(request.root, target.release());
}

// A release names files; what a hostile image says must not lead elsewhere.
bool IsFileName(absl::string_view release) {
  return !release.empty() && !absl::StrContains(release, "/") &&
         !absl::StartsWith(release, ".");
}

}  // namespace

std::string TargetKernel::release() const {
  if (image.ok() && !image->release().empty()) return image->release();
  return facts.ok() ? facts->release : "";
}

TargetKernel ReadTargetKernel(const TargetRequest& request,
                              const KernelReader& read_kernel) {
  TargetKernel target;
  target.kernel_path = request.kernel_path;
  target.initrd_path = request.initrd_path;
  ReadKernel(request, read_kernel, &target);
  OpenInitrd(request, &target);
  MakeCommandLine(request, &target);
  if (!IsFileName(target.release())) {
    target.config = absl::NotFoundError("the kernel's release is not known");
    target.modules = target.config.status();
    return target;
  }
  target.config = ReadConfig(request, target);
  target.modules = ModuleSet::Read(
      absl::StrCat(request.root, "/lib/modules/", target.release()));
  return target;
}

absl::Status CheckInitrd(absl::string_view initrd) {
  const absl::string_view kMagics[] = {
      "070701",
      "070702",    // cpio, also before a packed one
      "\x1f\x8b",  // gzip
      absl::string_view("\xfd"
                        "7zXZ\0",
                        6),              // xz
      "\x28\xb5\x2f\xfd",                // zstd
      "\x02\x21\x4c\x18",                // lz4, legacy format
      absl::string_view("\x5d\0\0", 3),  // lzma
      "BZh",                             // bzip2
      "\x89LZO",                         // lzo
  };
  if (initrd.empty()) return absl::InvalidArgumentError("empty");
  for (const absl::string_view magic : kMagics) {
    if (absl::StartsWith(initrd, magic)) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("not an initrd: starts with ",
                   absl::BytesToHexString(initrd.substr(0, 8)),
                   ", neither a cpio archive nor a packed one"));
}

}  // namespace live_update::loader
