#include "loader/linux_kexec.h"

#include <linux/kexec.h>
#include <linux/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "loader/direct_kexec.h"
#include "loader/kernel_facts.h"

namespace live_update::loader {
namespace {

// The first line of a one-line file of /proc or /sys; "" if it can't be read.
std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "none [integrity] confidentiality" -> "integrity".
std::string Selected(absl::string_view choices) {
  for (absl::string_view word : absl::StrSplit(choices, ' ')) {
    if (absl::ConsumePrefix(&word, "[") && absl::ConsumeSuffix(&word, "]")) {
      return std::string(word);
    }
  }
  return "";
}

// Of the running kernel; false if its package, with its configuration, is not
// installed.
bool IsSignatureForced(const std::string& root) {
  const absl::StatusOr<KernelConfig> config =
      ReadInstalledConfig(root, FirstLine(root + "/proc/sys/kernel/osrelease"));
  return config.ok() && config->IsBuiltIn("KEXEC_SIG_FORCE");
}

}  // namespace

KexecPolicy ReadKexecPolicy(const std::string& root) {
  return {
      .lockdown = Selected(FirstLine(root + "/sys/kernel/security/lockdown")),
      .load_disabled = FirstLine(root + "/proc/sys/kernel/kexec_load_disabled"),
      .load_limit =
          FirstLine(root + "/proc/sys/kernel/kexec_load_limit_reboot"),
      .signature_forced = IsSignatureForced(root)};
}

bool IsLockedDown(const KexecPolicy& policy) {
  return !policy.lockdown.empty() && policy.lockdown != "none";
}

absl::StatusOr<bool> ReadKexecLoaded(const std::string& root) {
  for (const char* path :
       {"/sys/kernel/kexec_loaded", "/sys/kernel/kexec/loaded"}) {
    const std::string loaded = FirstLine(root + path);
    if (loaded == "1") return true;
    if (loaded == "0") return false;
  }
  return absl::UnimplementedError(
      "no /sys/kernel/kexec_loaded: the running kernel has no kexec "
      "(CONFIG_KEXEC_FILE)");
}

absl::Status NotPermitted(absl::string_view call, const KexecPolicy& policy) {
  if (policy.load_disabled == "1") {
    return absl::PermissionDeniedError(absl::StrCat(
        call,
        ": kernel.kexec_load_disabled is 1, until the next cold boot; "
        "take it out of /etc/sysctl.d and reboot the host once"));
  }
  if (policy.load_limit == "0") {
    return absl::PermissionDeniedError(
        absl::StrCat(call,
                     ": kernel.kexec_load_limit_reboot is used up; raise it in "
                     "/etc/sysctl.d and reboot the host once"));
  }
  if (IsLockedDown(policy)) {
    return absl::PermissionDeniedError(absl::StrCat(
        call, ": locked down (", policy.lockdown,
        "): the kernel must carry a signature the running one trusts; install "
        "a signed kernel package"));
  }
  return absl::PermissionDeniedError(
      absl::StrCat(call, ": not permitted; run as root, with CAP_SYS_BOOT"));
}

absl::Status StageError(int error, const KexecPolicy& policy) {
  switch (error) {
    case ENOEXEC:
      return absl::InvalidArgumentError(
          "kexec_file_load: not a kernel it can load (ENOEXEC); give the "
          "vmlinuz (a 64-bit bzImage) of a kernel package");
    case EINVAL:
      return absl::InvalidArgumentError(
          "kexec_file_load: refused (EINVAL): the command line is too long for "
          "the target kernel, or its setup header is wrong; see the kernel log "
          "(dmesg)");
    case EKEYREJECTED:
    case ENOKEY:
    case ENODATA:
    case EBADMSG:
      return absl::PermissionDeniedError(absl::StrCat(
          "kexec_file_load: the kernel's signature is missing or not trusted (",
          error == ENODATA ? "none" : "rejected",
          "); install a kernel package that is signed with a key in the "
          "running kernel's keyring or MOK list"));
    case EPERM:
    case EACCES:
      return NotPermitted("kexec_file_load", policy);
    case EADDRNOTAVAIL:
      return absl::ResourceExhaustedError(
          "kexec_file_load: no place for the kernel and initrd "
          "(EADDRNOTAVAIL): with KHO they must fit its scratch area; make the "
          "initrd smaller (MODULES=dep) or kho_scratch= larger");
    case ENOMEM:
      return absl::ResourceExhaustedError(
          "kexec_file_load: not enough free memory for the kernel and initrd; "
          "free some (see MemAvailable in /proc/meminfo)");
    case EFBIG:
      return absl::InvalidArgumentError(
          "kexec_file_load: kernel or initrd is too large (EFBIG)");
    case EBUSY:
      return absl::UnavailableError(
          "kexec_file_load: another load or a crash dump set-up is under way "
          "(EBUSY); try again");
    case ENOSYS:
      return absl::UnimplementedError(
          "kexec_file_load: the running kernel has none (CONFIG_KEXEC_FILE)");
    default:
      return absl::ErrnoToStatus(error, "kexec_file_load");
  }
}

int FileLoad(const UniqueFd& kernel, const UniqueFd& initrd,
             const std::string& command_line, uint64_t flags) {
  if (!initrd.ok()) flags |= KEXEC_FILE_NO_INITRAMFS;
  // The length includes the NUL.
  return syscall(SYS_kexec_file_load, kernel.get(), initrd.get(),
                 command_line.size() + 1, command_line.c_str(), flags) == 0
             ? 0
             : errno;
}

absl::Status LinuxKexec::StageFile(const UniqueFd& kernel,
                                   const UniqueFd& initrd,
                                   const std::string& command_line) {
  const int error = FileLoad(kernel, initrd, command_line, 0);
  return error == 0 ? absl::OkStatus() : StageError(error, ReadKexecPolicy(""));
}

absl::Status LinuxKexec::StageDirect(const UniqueFd& kernel,
                                     const UniqueFd& initrd,
                                     const std::string& command_line,
                                     DirectEntry entry,
                                     const std::vector<PhysRange>& untouched) {
  return StageByKexecLoad(kernel, initrd, command_line, entry, untouched);
}

absl::Status LinuxKexec::Unstage() {
  if (syscall(SYS_kexec_file_load, -1, -1, uint64_t{0}, nullptr,
              uint64_t{KEXEC_FILE_UNLOAD}) != 0) {
    return absl::ErrnoToStatus(
        errno, "unstage the kernel (kexec_file_load, KEXEC_FILE_UNLOAD)");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> LinuxKexec::IsStaged() { return ReadKexecLoaded(""); }

absl::Status LinuxKexec::Jump() {
  syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
          LINUX_REBOOT_CMD_KEXEC, nullptr);
  const int error = errno;
  if (error == EINVAL) {
    return absl::FailedPreconditionError(
        "reboot(KEXEC): no kernel is staged, or this is not the host's own pid "
        "namespace (EINVAL)");
  }
  return absl::ErrnoToStatus(error, "reboot(KEXEC)");
}

}  // namespace live_update::loader
