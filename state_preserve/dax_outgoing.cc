#include "state_preserve/dax_outgoing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "state_preserve/names.h"
#include "state_preserve/ram_identity.h"

namespace live_update {
namespace {

absl::Status WriteNewFile(const UniqueFd& directory, const std::string& name,
                          absl::string_view contents) {
  const UniqueFd fd(openat(directory.get(), name.c_str(),
                           O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!fd.ok()) {
    return absl::ErrnoToStatus(errno, absl::StrCat("create ", name));
  }
  LU_RETURN_IF_ERROR(Annotate(WriteAll(fd, contents), name));
  return Annotate(Sync(fd), name);
}

// Opens the file behind `fd` again, through the mount that `directory` is in:
// QEMU's own descriptors come from a mount namespace of its own, and a name
// can't be given across mounts, though it is the same file system.
absl::StatusOr<UniqueFd> OpenInMountOf(const UniqueFd& directory,
                                       const UniqueFd& fd) {
  union {
    file_handle handle;
    char room[sizeof(file_handle) + MAX_HANDLE_SZ];
  } file = {};
  file.handle.handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (name_to_handle_at(fd.get(), "", &file.handle, &mount_id, AT_EMPTY_PATH) !=
      0) {
    return absl::ErrnoToStatus(errno, "get the file's handle");
  }
  UniqueFd opened(
      open_by_handle_at(directory.get(), &file.handle, O_RDWR | O_CLOEXEC));
  if (!opened.ok()) {
    return absl::ErrnoToStatus(errno, "open the file by its handle");
  }
  return opened;
}

// Gives the file behind `fd` the name `name`, too.
absl::Status Link(const UniqueFd& fd, const UniqueFd& directory,
                  const std::string& name) {
  // Needs CAP_DAC_READ_SEARCH; the way through /proc does without.
  if (linkat(fd.get(), "", directory.get(), name.c_str(), AT_EMPTY_PATH) == 0) {
    return absl::OkStatus();
  }
  if (errno == ENOENT &&
      linkat(AT_FDCWD, absl::StrCat("/proc/self/fd/", fd.get()).c_str(),
             directory.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    return absl::OkStatus();
  }
  if (errno == EXDEV) {
    LU_ASSIGN_OR_RETURN(const UniqueFd here, OpenInMountOf(directory, fd));
    if (linkat(here.get(), "", directory.get(), name.c_str(), AT_EMPTY_PATH) ==
        0) {
      return absl::OkStatus();
    }
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("link ", name));
}

std::string DeviceName(uint64_t device) {
  return absl::StrCat(major(device), ":", minor(device));
}

absl::Status CheckNoOutgoing(const DaxStore& store) {
  LU_ASSIGN_OR_RETURN(const OutgoingSet outgoing, FindOutgoing(store));
  switch (outgoing) {
    case OutgoingSet::kNone:
      return absl::OkStatus();
    case OutgoingSet::kOfThisBoot:
      return absl::FailedPreconditionError(
          "an update of this boot was cut off and left its outgoing set");
    case OutgoingSet::kOfAnotherBoot:
      return absl::FailedPreconditionError(
          "the last kernel's handover has not been retrieved yet");
  }
  return absl::InternalError("unreachable");
}

}  // namespace

absl::StatusOr<std::unique_ptr<DaxOutgoing>> DaxOutgoing::Begin(
    std::shared_ptr<const DaxStore> store, const std::string& update_id) {
  if (!IsSafeName(update_id)) {
    return absl::InvalidArgumentError("update id is no safe name");
  }
  LU_RETURN_IF_ERROR(CheckNoOutgoing(*store));
  LU_ASSIGN_OR_RETURN(const UniqueFd incoming,
                      MakeDirectoryAt(store->root, kIncomingName));
  LU_ASSIGN_OR_RETURN(const bool is_used, ExistsAt(incoming, update_id));
  if (is_used) {
    return absl::AlreadyExistsError(
        absl::StrCat("update ", update_id, " is not finished"));
  }

  LU_RETURN_IF_ERROR(RemoveTreeAt(store->root, kOutgoingNewName));
  LU_ASSIGN_OR_RETURN(UniqueFd set,
                      MakeDirectoryAt(store->root, kOutgoingNewName));
  LU_RETURN_IF_ERROR(WriteNewFile(set, kBootIdName, store->boot_id));
  LU_RETURN_IF_ERROR(WriteNewFile(set, kUpdateIdName, update_id));
  LU_ASSIGN_OR_RETURN(UniqueFd ram, MakeDirectoryAt(set, kRamName));
  LU_RETURN_IF_ERROR(Sync(set));
  LU_RETURN_IF_ERROR(
      RenameAt(store->root, kOutgoingNewName, store->root, kOutgoingName));
  LU_RETURN_IF_ERROR(Sync(store->root));
  // Using new to access a non-public constructor.
  return absl::WrapUnique(
      new DaxOutgoing(std::move(store), std::move(set), std::move(ram)));
}

absl::Status DaxOutgoing::CheckCanKeep(const UniqueFd& fd,
                                       RamIdentity* identity) const {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, "stat");
  if (!S_ISREG(file.st_mode) || file.st_dev != store_->device) {
    return absl::FailedPreconditionError(absl::StrCat(
        "not a file in ", store_->path, "'s file system (device ",
        DeviceName(file.st_dev), ", not ", DeviceName(store_->device),
        "): memory of memfd, hugetlbfs or other file systems can't be kept"));
  }
  if (file.st_nlink == 0) {
    return absl::FailedPreconditionError(
        "the file has no name any more and can't be given one");
  }
  if (file.st_size == 0) return absl::FailedPreconditionError("empty file");
  if (store_->requires_dax) {
    LU_ASSIGN_OR_RETURN(const bool is_dax, IsDax(fd));
    if (!is_dax) {
      return absl::FailedPreconditionError("the file is not used through DAX");
    }
  }
  *identity = IdentityOf(file);
  return absl::OkStatus();
}

absl::StatusOr<PreservedRam> DaxOutgoing::PreserveRam(absl::string_view vm_uuid,
                                                      absl::string_view block,
                                                      const UniqueFd& fd) {
  if (!IsUuid(vm_uuid) || block.empty()) {
    return absl::InvalidArgumentError("no UUID, or no name of the block");
  }
  const std::string context = absl::StrCat("preserve ", block);
  const std::string uuid(vm_uuid);
  const std::string name = EncodeFileName(block);
  PreservedRam ram{.token = absl::StrCat(uuid, "/", name), .identity = {}};
  LU_RETURN_IF_ERROR(Annotate(CheckCanKeep(fd, &ram.identity), context));
  LU_ASSIGN_OR_RETURN(const UniqueFd directory, MakeDirectoryAt(ram_, uuid));
  LU_RETURN_IF_ERROR(Annotate(Link(fd, directory, name), context));

  struct stat linked {};
  if (fstatat(directory.get(), name.c_str(), &linked, AT_SYMLINK_NOFOLLOW) !=
          0 ||
      linked.st_ino != ram.identity.inode ||
      linked.st_dev != ram.identity.device) {
    return absl::InternalError(
        absl::StrCat(context, ": the name leads to another file"));
  }
  return ram;
}

absl::StatusOr<absl::Span<uint8_t>> DaxOutgoing::ReserveStateArea(
    uint64_t size_bytes) {
  absl::MutexLock lock(&mutex_);
  if (!state_area_.bytes().empty() || size_bytes == 0) {
    return absl::FailedPreconditionError(
        "state area: reserved already, or of no size");
  }
  LU_ASSIGN_OR_RETURN(const uint64_t free_bytes, FreeBytesOf(*store_));
  const auto no_room = [size_bytes, free_bytes] {
    return absl::ResourceExhaustedError(absl::StrCat(
        "state area: ", size_bytes, " bytes needed, ", free_bytes, " free"));
  };
  if (size_bytes > free_bytes) return no_room();

  const UniqueFd fd(openat(set_.get(), kHandoverName,
                           O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, "create the state area");
  absl::Cleanup remove = [this] { unlinkat(set_.get(), kHandoverName, 0); };
  const int error =
      posix_fallocate(fd.get(), 0, static_cast<off_t>(size_bytes));
  if (error == ENOSPC) return no_room();
  if (error != 0) {
    return absl::ErrnoToStatus(error, "allocate the state area");
  }
  LU_ASSIGN_OR_RETURN(state_area_, MappedRegion::MapReadWrite(fd, size_bytes));
  // Takes the page faults, and the file system's block conversions, now.
  std::memset(state_area_.mutable_bytes().data(), 0, size_bytes);
  std::move(remove).Cancel();
  return state_area_.mutable_bytes();
}

absl::Status DaxOutgoing::Flush() {
  absl::MutexLock lock(&mutex_);
  LU_RETURN_IF_ERROR(Annotate(state_area_.Sync(), "state area"));
  if (syncfs(set_.get()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("syncfs ", store_->path));
  }
  return absl::OkStatus();
}

absl::Status DaxOutgoing::Unpreserve() {
  // Not another's set, should ours be gone already.
  struct stat own {};
  struct stat current {};
  if (fstat(set_.get(), &own) != 0) return absl::ErrnoToStatus(errno, "stat");
  if (fstatat(store_->root.get(), kOutgoingName, &current,
              AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrCat("stat ", kOutgoingName));
  }
  if (current.st_ino != own.st_ino) return absl::OkStatus();
  return Annotate(DiscardSet(*store_, store_->root, kOutgoingName),
                  "unpreserve");
}

}  // namespace live_update
