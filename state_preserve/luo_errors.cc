#include "state_preserve/luo_errors.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "state_preserve/luo_uapi.h"

namespace live_update {
namespace {

constexpr int64_t kGuestMemoryMagic = 0x474d454d;  // "GMEM", since Linux 6.16.

// What there is to say of a file that the kernel has no handler for.
std::string WhyNotKept(const UniqueFd& file) {
  struct stat stat {};
  struct statfs file_system {};
  if (fstat(file.get(), &stat) != 0 || fstatfs(file.get(), &file_system) != 0) {
    return "it can't be looked at";
  }
  if (!S_ISREG(stat.st_mode)) return "it is no memory but a device or socket";
  switch (file_system.f_type) {
    case HUGETLBFS_MAGIC:
      return "it is of hugetlbfs, which no kernel can keep yet: take "
             "<hugepages> out of the VM's <memoryBacking>, and let transparent "
             "huge pages do their work";
    case kGuestMemoryMagic:
      return "it is guest_memfd, which no kernel can keep yet (confidential "
             "VMs)";
    case TMPFS_MAGIC:
      if (stat.st_nlink == 0) break;
      return absl::StrCat("it has ", stat.st_nlink,
                          " name(s) in a tmpfs, and only unnamed memory is "
                          "kept: give the VM <source type='memfd'/>");
    default:
      return absl::StrFormat(
          "it is of another file system (magic %#x): give the VM <source "
          "type='memfd'/>",
          file_system.f_type);
  }
  return "this kernel has no handler for memfds (CONFIG_LIVEUPDATE_MEMFD)";
}

}  // namespace

absl::Status LuoOpenError(int error, const std::string& device_path) {
  switch (error) {
    case EBUSY:
      return absl::UnavailableError(absl::StrCat(
          device_path,
          " is open in another process, and only one may have it: `fuser -v ",
          device_path, "` names it (another host-update, systemd, luod?)"));
    case EIO:
      return absl::DataLossError(absl::StrCat(
          device_path,
          ": this kernel can't read what the last one left, probably of "
          "another "
          "version of the interface (`dmesg | grep -iE 'luo|kho'` has the "
          "reason); that memory stays reserved, and nothing can be retrieved "
          "or "
          "preserved before the host's next cold boot"));
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return absl::NotFoundError(absl::StrCat(
          "no ", device_path,
          ": needs Linux 7.3 or newer with CONFIG_LIVEUPDATE, and kho=on "
          "liveupdate=on on its command line"));
    default:
      return absl::ErrnoToStatus(error, absl::StrCat("open ", device_path));
  }
}

absl::Status LuoCreateError(int error, const std::string& name) {
  const std::string context = absl::StrCat("create session ", name);
  switch (error) {
    case EEXIST:
      return absl::AlreadyExistsError(
          absl::StrCat(context,
                       ": a session of this name is open, by another update "
                       "that is under way"));
    case EINVAL:
      return absl::InvalidArgumentError(absl::StrCat(
          context, ": its name must have 1 to ", kLuoNameBytes - 1, " bytes"));
    case ENOSPC:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat(context, ": ",
                       error == ENOSPC   ? "the kernel keeps no more of them"
                       : error == ENOMEM ? "no memory"
                                         : "too many open files"));
    default:
      return absl::ErrnoToStatus(error, context);
  }
}

absl::Status LuoRetrieveSessionError(int error, const std::string& name) {
  const std::string context = absl::StrCat("retrieve session ", name);
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(absl::StrCat(
          context, ": the last kernel left none, or it is finished"));
    case EINVAL:
      return absl::UnavailableError(absl::StrCat(
          context,
          ": it was retrieved already, and another process than our keeper "
          "holds it"));
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(absl::StrCat(
          context, ": ", error == ENOMEM ? "no memory" : "too many open files",
          "; it is still there"));
    default:
      return absl::ErrnoToStatus(error, context);
  }
}

absl::Status LuoPreserveError(int error, uint64_t token, const UniqueFd& file) {
  switch (error) {
    case ENOENT:
      return absl::FailedPreconditionError(absl::StrCat(
          "not memory that can be carried over: ", WhyNotKept(file)));
    case EBUSY:
      return absl::FailedPreconditionError(
          "preserved already, in another session, or not finished since it was "
          "retrieved: `host-update status` says whether a VM of the last "
          "update "
          "still waits");
    case EEXIST:
      return absl::AlreadyExistsError(
          absl::StrCat("token ", token, " is used already"));
    case EFBIG:
      return absl::FailedPreconditionError(
          "too large to be carried over: give the VM several smaller NUMA "
          "nodes");
    case EOPNOTSUPP:
      return absl::FailedPreconditionError(
          "has a seal that the kernel can't carry over");
    case EINVAL:
      return absl::FailedPreconditionError(
          "the session is not an outgoing one, or the memory lies where the "
          "next kernel will be loaded");
    case ENOSPC:
    case ENOMEM:
      return absl::ResourceExhaustedError(
          error == ENOSPC
              ? "the session takes no more files"
              : "no memory: each page of the guest must be "
                "resident, and 8 bytes for each are needed meanwhile");
    default:
      return absl::ErrnoToStatus(error, "preserve a file");
  }
}

absl::Status LuoRetrieveError(int error, uint64_t token) {
  const std::string context = absl::StrCat("retrieve token ", token);
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(absl::StrCat(
          context, ": the session has no such file, or is finished"));
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat(context, ": too many open files"));
    default:
      return absl::DataLossError(
          absl::StrCat(context, ": the kernel could not rebuild the file (",
                       absl::ErrnoToStatus(error, "error ").message(),
                       ") and does not try again: this memory is lost"));
  }
}

absl::Status LuoFinishError(int error) {
  if (error == EBUSY) {
    return absl::UnavailableError(
        "finish: the kernel says that a file is not ready for it; try again");
  }
  if (error == EINVAL) {
    return absl::FailedPreconditionError("finish: not an incoming session");
  }
  return absl::ErrnoToStatus(error, "finish");
}

}  // namespace live_update
