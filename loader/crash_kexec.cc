#include "loader/crash_kexec.h"

#include <linux/kexec.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "loader/linux_kexec.h"

namespace live_update::loader {
namespace {

constexpr uint64_t kMaxNumberBytes = 64;

// A number of /sys/kernel. kUnimplemented: the kernel has no such file.
absl::StatusOr<uint64_t> ReadNumber(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxNumberBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::UnimplementedError(absl::StrCat(
        "no ", path,
        ": the running kernel stages none for a crash (CONFIG_CRASH_DUMP)"));
  }
  if (!text.ok()) return text.status();
  uint64_t number = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &number)) {
    return absl::InternalError(absl::StrCat(path, " is no number: ", *text));
  }
  return number;
}

}  // namespace

absl::StatusOr<uint64_t> LinuxCrashKexec::ReservedBytes() {
  return ReadNumber("/sys/kernel/kexec_crash_size");
}

absl::StatusOr<bool> LinuxCrashKexec::IsStaged() {
  LU_ASSIGN_OR_RETURN(const uint64_t loaded,
                      ReadNumber("/sys/kernel/kexec_crash_loaded"));
  return loaded != 0;
}

absl::Status LinuxCrashKexec::Stage(const UniqueFd& kernel,
                                    const UniqueFd& initrd,
                                    const std::string& command_line) {
  const int error = FileLoad(kernel, initrd, command_line, KEXEC_FILE_ON_CRASH);
  if (error == 0) return absl::OkStatus();
  if (error == EADDRNOTAVAIL || error == ENOMEM) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "kexec_file_load: no place for kernel and initrd in what crashkernel= "
        "has set aside (",
        error == ENOMEM ? "ENOMEM" : "EADDRNOTAVAIL", "); make it larger"));
  }
  return StageError(error, ReadKexecPolicy(""));
}

absl::Status LinuxCrashKexec::Unstage() {
  if (syscall(SYS_kexec_file_load, -1, -1, uint64_t{0}, nullptr,
              uint64_t{KEXEC_FILE_UNLOAD | KEXEC_FILE_ON_CRASH}) != 0) {
    return absl::ErrnoToStatus(errno,
                               "unstage the crash kernel (kexec_file_load)");
  }
  return absl::OkStatus();
}

}  // namespace live_update::loader
