#include "state_preserve/dax_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "state_preserve/scrub.h"

namespace live_update {
namespace {

// Only we may have put there what we are going to trust.
absl::Status CheckPrivate(const DaxStore& store, const struct stat& root) {
  if (root.st_uid == geteuid() && (root.st_mode & 077) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      store.path, ": must belong to this program's user and have mode 0700"));
}

absl::Status CheckDax(const DaxStore& store) {
  const UniqueFd probe(
      openat(store.root.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!probe.ok()) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat(store.path, ": can't make a file to probe DAX"));
  }
  LU_ASSIGN_OR_RETURN(const bool is_dax, IsDax(probe));
  if (is_dax) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      store.path,
      ": files here are in the page cache, which does not outlive the kernel. "
      "Reserve memory with memmap=<size>!<start> on the kernel command line, "
      "make an ext4 or xfs file system on the /dev/pmem device that appears "
      "and "
      "mount it here with -o dax=always"));
}

absl::StatusOr<uint64_t> UnlinkIfUnused(const UniqueFd& directory,
                                        const std::string& name) {
  const UniqueFd fd(openat(directory.get(), name.c_str(),
                           O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.ok() && errno == EWOULDBLOCK) return 0;  // Another has a lease.
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", name));
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("stat ", name));
  }
  LU_ASSIGN_OR_RETURN(const bool unused, IsOnlyUser(fd));
  if (!unused) return 0;
  if (unlinkat(directory.get(), name.c_str(), 0) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("unlink ", name));
  }
  // Another name, in a set, keeps the memory.
  constexpr uint64_t kStatBlockBytes = 512;
  return file.st_nlink > 1
             ? 0
             : static_cast<uint64_t>(file.st_blocks) * kStatBlockBytes;
}

}  // namespace

absl::StatusOr<DaxStore> OpenDaxStore(const std::string& mount,
                                      bool requires_dax) {
  DaxStore store;
  store.path = absl::StrCat(mount, "/", kStoreName);
  store.requires_dax = requires_dax;
  LU_ASSIGN_OR_RETURN(const UniqueFd parent, OpenDirectory(mount));
  LU_ASSIGN_OR_RETURN(store.root, MakeDirectoryAt(parent, kStoreName));
  struct stat root {};
  if (fstat(store.root.get(), &root) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("stat ", store.path));
  }
  store.device = root.st_dev;
  LU_RETURN_IF_ERROR(CheckPrivate(store, root));
  if (requires_dax) LU_RETURN_IF_ERROR(CheckDax(store));
  return store;
}

absl::StatusOr<bool> IsDax(const UniqueFd& fd) {
  struct statx file {};
  if (statx(fd.get(), "", AT_EMPTY_PATH, STATX_TYPE, &file) != 0) {
    return absl::ErrnoToStatus(errno, "statx");
  }
  if ((file.stx_attributes_mask & STATX_ATTR_DAX) == 0) {
    return absl::UnimplementedError(
        "this kernel does not tell whether a file is used through DAX");
  }
  return (file.stx_attributes & STATX_ATTR_DAX) != 0;
}

absl::StatusOr<OutgoingSet> FindOutgoing(const DaxStore& store) {
  absl::StatusOr<UniqueFd> set = OpenDirectoryAt(store.root, kOutgoingName);
  if (absl::IsNotFound(set.status())) return OutgoingSet::kNone;
  if (!set.ok()) return set.status();
  absl::StatusOr<std::string> boot_id =
      ReadFileAt(*set, kBootIdName, kMaxIdBytes);
  if (!boot_id.ok()) {
    return absl::DataLossError(
        absl::StrCat(store.path, "/", kOutgoingName,
                     ": damaged: ", boot_id.status().message()));
  }
  return *boot_id == store.boot_id ? OutgoingSet::kOfThisBoot
                                   : OutgoingSet::kOfAnotherBoot;
}

absl::Status RemoveSet(const UniqueFd& parent, const std::string& name) {
  absl::StatusOr<UniqueFd> set = OpenDirectoryAt(parent, name);
  if (absl::IsNotFound(set.status())) return absl::OkStatus();
  if (set.ok()) {
    // No VM runs on the image; that we have it mapped does not matter.
    LU_RETURN_IF_ERROR(ScrubAndUnlink(*set, kHandoverName, ScrubOpen::kYes));
  }
  return ScrubTreeAt(parent, name);
}

absl::Status DiscardSet(const DaxStore& store, const UniqueFd& parent,
                        const std::string& name) {
  // What an earlier call was at when it was cut off.
  LU_RETURN_IF_ERROR(RemoveSet(store.root, kDiscardedName));
  const absl::Status renamed =
      RenameAt(parent, name, store.root, kDiscardedName);
  if (absl::IsNotFound(renamed)) return absl::OkStatus();
  LU_RETURN_IF_ERROR(renamed);
  LU_RETURN_IF_ERROR(Sync(parent));
  LU_RETURN_IF_ERROR(Sync(store.root));
  return RemoveSet(store.root, kDiscardedName);
}

absl::StatusOr<uint64_t> FreeBytesOf(const DaxStore& store) {
  struct statvfs file_system {};
  if (fstatvfs(store.root.get(), &file_system) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("statvfs ", store.path));
  }
  return static_cast<uint64_t>(file_system.f_bavail) * file_system.f_frsize;
}

absl::Status ScrubRunning(const UniqueFd& running, const std::string& vm_uuid) {
  absl::StatusOr<UniqueFd> directory = OpenDirectoryAt(running, vm_uuid);
  if (absl::IsNotFound(directory.status())) return absl::OkStatus();
  if (!directory.ok()) return directory.status();
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(*directory));
  for (const std::string& name : names) {
    // Only what is nobody's: to see that, it is opened and closed again.
    {
      const UniqueFd fd(openat(directory->get(), name.c_str(),
                               O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
      if (!fd.ok() && errno == EWOULDBLOCK) continue;
      if (!fd.ok()) {
        return absl::ErrnoToStatus(errno, absl::StrCat("open ", name));
      }
      LU_ASSIGN_OR_RETURN(const bool unused, IsOnlyUser(fd));
      if (!unused) continue;
    }
    LU_RETURN_IF_ERROR(ScrubAndUnlink(*directory, name));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CollectRunning(const UniqueFd& running,
                                        const std::string& vm_uuid) {
  absl::StatusOr<UniqueFd> directory = OpenDirectoryAt(running, vm_uuid);
  if (absl::IsNotFound(directory.status())) return 0;
  if (!directory.ok()) return directory.status();
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(*directory));
  uint64_t freed_bytes = 0;
  for (const std::string& name : names) {
    LU_ASSIGN_OR_RETURN(const uint64_t bytes, UnlinkIfUnused(*directory, name));
    freed_bytes += bytes;
  }
  if (unlinkat(running.get(), vm_uuid.c_str(), AT_REMOVEDIR) != 0 &&
      errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("rmdir ", vm_uuid));
  }
  return freed_bytes;
}

}  // namespace live_update
