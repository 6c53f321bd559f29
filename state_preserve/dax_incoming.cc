#include "state_preserve/dax_incoming.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "state_preserve/names.h"
#include "state_preserve/scrub.h"

namespace live_update {
namespace {

// Only mapped, not read; this is against nonsense.
constexpr uint64_t kMaxImageBytes = uint64_t{1} << 40;

// Of a mark: a boot's id and a kernel's release.
constexpr uint64_t kMaxMarkBytes = 200;

// A missing or empty file is no image, not an error: the update was cut off.
absl::StatusOr<MappedRegion> MapImage(const UniqueFd& set) {
  const UniqueFd fd(openat(set.get(), kHandoverName,
                           O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.ok() && errno == ENOENT) return MappedRegion();
  if (!fd.ok()) return absl::ErrnoToStatus(errno, "open the image");
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, "stat the image");
  }
  const auto size_bytes = static_cast<uint64_t>(file.st_size);
  if (!S_ISREG(file.st_mode) || size_bytes > kMaxImageBytes) {
    return absl::DataLossError(
        absl::StrCat("the image is no file, or has ", size_bytes, " bytes"));
  }
  if (size_bytes == 0) return MappedRegion();
  return MappedRegion::MapReadOnly(fd, size_bytes);
}

absl::Status CheckUuid(absl::string_view vm_uuid) {
  if (IsUuid(vm_uuid)) return absl::OkStatus();
  return absl::InvalidArgumentError("not a VM's UUID");
}

}  // namespace

absl::StatusOr<std::unique_ptr<DaxIncoming>> DaxIncoming::Open(
    std::shared_ptr<const DaxStore> store, const std::string& update_id) {
  // Using new to access a non-public constructor.
  auto incoming =
      absl::WrapUnique(new DaxIncoming(std::move(store), update_id));
  const UniqueFd& root = incoming->store_->root;
  LU_ASSIGN_OR_RETURN(incoming->incoming_,
                      OpenDirectoryAt(root, kIncomingName));
  LU_ASSIGN_OR_RETURN(incoming->running_, MakeDirectoryAt(root, kRunningName));
  LU_ASSIGN_OR_RETURN(const UniqueFd set,
                      OpenDirectoryAt(incoming->incoming_, update_id));
  LU_ASSIGN_OR_RETURN(const bool has_ram, ExistsAt(set, kRamName));
  if (!has_ram) {
    LU_RETURN_IF_ERROR(RemoveSet(incoming->incoming_, update_id));
    return nullptr;
  }
  LU_ASSIGN_OR_RETURN(incoming->ram_, OpenDirectoryAt(set, kRamName));
  LU_ASSIGN_OR_RETURN(incoming->image_, MapImage(set));
  struct stat begun {};
  if (fstatat(set.get(), kUpdateIdName, &begun, AT_SYMLINK_NOFOLLOW) == 0) {
    incoming->begun_at_ = absl::TimeFromTimespec(begun.st_mtim);
  }
  return incoming;
}

absl::StatusOr<std::vector<std::string>> DaxIncoming::VmUuids() {
  return ListDirectory(ram_);
}

absl::StatusOr<UniqueFd> DaxIncoming::RetrieveRam(absl::string_view vm_uuid,
                                                  absl::string_view block,
                                                  const PreservedRam& ram) {
  LU_RETURN_IF_ERROR(CheckUuid(vm_uuid));
  const std::string uuid(vm_uuid);
  const std::string name = EncodeFileName(block);
  const std::string context = absl::StrCat("retrieve ", block);
  if (ram.token != absl::StrCat(uuid, "/", name)) {
    return absl::DataLossError(
        absl::StrCat(context, ": its token is another block's"));
  }
  absl::StatusOr<UniqueFd> directory = OpenDirectoryAt(ram_, uuid);
  if (absl::IsNotFound(directory.status())) {
    return absl::DataLossError(
        absl::StrCat(context, ": nothing of this VM is preserved"));
  }
  if (!directory.ok()) return Annotate(directory.status(), context);

  UniqueFd fd(openat(directory->get(), name.c_str(),
                     O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.ok() && errno == ENOENT) {
    return absl::DataLossError(absl::StrCat(context, ": it is gone"));
  }
  if (!fd.ok()) return absl::ErrnoToStatus(errno, context);
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, context);
  if (!S_ISREG(file.st_mode) || file.st_dev != store_->device ||
      file.st_ino != ram.identity.inode ||
      static_cast<uint64_t>(file.st_size) != ram.identity.size_bytes) {
    return absl::DataLossError(
        absl::StrCat(context, ": inode ", file.st_ino, " of ", file.st_size,
                     " bytes is not the preserved one, ", ram.identity.inode,
                     " of ", ram.identity.size_bytes));
  }
  return fd;
}

absl::Status DaxIncoming::MarkResumed(absl::string_view vm_uuid,
                                      const std::string& kernel) {
  LU_RETURN_IF_ERROR(CheckUuid(vm_uuid));
  const std::string uuid(vm_uuid);
  const std::string context = absl::StrCat("mark ", uuid, " as resumed");
  LU_ASSIGN_OR_RETURN(const UniqueFd set,
                      OpenDirectoryAt(incoming_, update_id_));
  LU_ASSIGN_OR_RETURN(const UniqueFd marks, MakeDirectoryAt(set, kResumedName));
  LU_ASSIGN_OR_RETURN(const bool is_marked, ExistsAt(marks, uuid));
  // One that is there may be of a call that was cut off before its fsync.
  const UniqueFd mark(
      openat(marks.get(), uuid.c_str(),
             O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!mark.ok()) return absl::ErrnoToStatus(errno, context);
  if (!is_marked) {
    LU_RETURN_IF_ERROR(Annotate(
        WriteAll(mark, absl::StrCat(store_->boot_id, " ", kernel)), context));
  }
  for (const UniqueFd* part : {&mark, &marks, &set}) {
    LU_RETURN_IF_ERROR(Annotate(Sync(*part), context));
  }
  return absl::OkStatus();
}

absl::Status DaxIncoming::UnmarkResumed(absl::string_view vm_uuid) {
  LU_RETURN_IF_ERROR(CheckUuid(vm_uuid));
  LU_ASSIGN_OR_RETURN(const UniqueFd set,
                      OpenDirectoryAt(incoming_, update_id_));
  const absl::StatusOr<UniqueFd> marks = OpenDirectoryAt(set, kResumedName);
  if (absl::IsNotFound(marks.status())) return absl::OkStatus();
  LU_RETURN_IF_ERROR(marks.status());
  LU_RETURN_IF_ERROR(RemoveTreeAt(*marks, std::string(vm_uuid)));
  return Sync(*marks);
}

absl::StatusOr<std::optional<ResumeMark>> DaxIncoming::FindResumeMark(
    absl::string_view vm_uuid) {
  LU_RETURN_IF_ERROR(CheckUuid(vm_uuid));
  LU_ASSIGN_OR_RETURN(const UniqueFd set,
                      OpenDirectoryAt(incoming_, update_id_));
  const absl::StatusOr<UniqueFd> marks = OpenDirectoryAt(set, kResumedName);
  if (absl::IsNotFound(marks.status())) return std::nullopt;
  LU_RETURN_IF_ERROR(marks.status());
  LU_ASSIGN_OR_RETURN(const bool is_marked,
                      ExistsAt(*marks, std::string(vm_uuid)));
  if (!is_marked) return std::nullopt;
  // Whatever it holds, it is a mark.
  const absl::StatusOr<std::string> text =
      ReadFileAt(*marks, std::string(vm_uuid), kMaxMarkBytes);
  const std::pair<std::string, std::string> boot_and_kernel =
      absl::StrSplit(text.ok() ? *text : "", absl::MaxSplits(' ', 1));
  return ResumeMark{.kernel = IsSafeName(boot_and_kernel.second)
                                  ? boot_and_kernel.second
                                  : "that is not known",
                    .in_this_boot = boot_and_kernel.first == store_->boot_id};
}

absl::Status DaxIncoming::Release(absl::string_view vm_uuid) {
  LU_RETURN_IF_ERROR(CheckUuid(vm_uuid));
  const std::string uuid(vm_uuid);
  LU_ASSIGN_OR_RETURN(const bool is_here, ExistsAt(ram_, uuid));
  if (!is_here) return absl::OkStatus();
  LU_RETURN_IF_ERROR(RemoveTreeAt(running_, uuid));
  LU_RETURN_IF_ERROR(RenameAt(ram_, uuid, running_, uuid));
  LU_RETURN_IF_ERROR(Sync(running_));
  return Sync(ram_);
}

absl::Status DaxIncoming::Discard(absl::string_view vm_uuid) {
  LU_RETURN_IF_ERROR(CheckUuid(vm_uuid));
  const std::string uuid(vm_uuid);
  LU_RETURN_IF_ERROR(ScrubTreeAt(ram_, uuid));
  LU_RETURN_IF_ERROR(Sync(ram_));
  // The same memory's names from an update before.
  LU_RETURN_IF_ERROR(ScrubRunning(running_, uuid));
  return CollectRunning(running_, uuid).status();
}

absl::StatusOr<bool> DaxIncoming::FinishIfEmpty() {
  absl::StatusOr<UniqueFd> set = OpenDirectoryAt(incoming_, update_id_);
  if (absl::IsNotFound(set.status())) return true;
  if (!set.ok()) return set.status();
  // A set without ram/ is finished; what else is left of it is for anyone to
  // remove.
  if (unlinkat(set->get(), kRamName, AT_REMOVEDIR) != 0 && errno != ENOENT) {
    if (errno == ENOTEMPTY || errno == EEXIST) return false;
    return absl::ErrnoToStatus(errno, absl::StrCat("finish ", update_id_));
  }
  LU_RETURN_IF_ERROR(RemoveSet(incoming_, update_id_));
  LU_RETURN_IF_ERROR(Sync(incoming_));
  return true;
}

}  // namespace live_update
