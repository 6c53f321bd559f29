#include "state_preserve/luo_incoming.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/algorithm/container.h"
#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "state_preserve/luo_index.h"
#include "state_preserve/names.h"

namespace live_update {
namespace {

// Only mapped, not read; this is against nonsense.
constexpr uint64_t kMaxImageBytes = uint64_t{1} << 40;

// Of a mark: a kernel's release.
constexpr uint64_t kMaxMarkBytes = 100;

absl::StatusOr<uint64_t> SizeOf(const UniqueFd& fd) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, "stat");
  if (!S_ISREG(file.st_mode)) return absl::DataLossError("not a memory file");
  return static_cast<uint64_t>(file.st_size);
}

absl::StatusOr<LuoIndex> ReadIndex(LuoSession& handover) {
  const absl::StatusOr<UniqueFd> fd = handover.Retrieve(kLuoIndexToken);
  if (absl::IsNotFound(fd.status())) {
    return absl::DataLossError(fd.status().message());
  }
  if (!fd.ok()) return fd.status();
  LU_ASSIGN_OR_RETURN(const uint64_t size_bytes, SizeOf(*fd));
  if (size_bytes != kLuoIndexBytes) {
    return absl::DataLossError(
        absl::StrCat("index: a file of ", size_bytes, " bytes"));
  }
  LU_ASSIGN_OR_RETURN(const MappedRegion area,
                      MappedRegion::MapReadOnly(*fd, size_bytes));
  return ReadLuoIndex(area.bytes());
}

// None is no error: the update was cut off before there was one.
absl::StatusOr<MappedRegion> MapImage(LuoSession& handover) {
  const absl::StatusOr<UniqueFd> fd = handover.Retrieve(kLuoImageToken);
  if (absl::IsNotFound(fd.status())) return MappedRegion();
  if (!fd.ok()) return fd.status();
  LU_ASSIGN_OR_RETURN(const uint64_t size_bytes, SizeOf(*fd));
  if (size_bytes > kMaxImageBytes) {
    return absl::DataLossError(absl::StrCat(size_bytes, " bytes"));
  }
  if (size_bytes == 0) return MappedRegion();
  return MappedRegion::MapReadOnly(*fd, size_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LuoIncoming>> LuoIncoming::Open(
    std::shared_ptr<const LuoStore> store, LuoSession& handover) {
  absl::StatusOr<LuoIndex> index = ReadIndex(handover);
  if (!index.ok()) {
    return Annotate(index.status(),
                    "the last kernel's handover can't be used, and the memory "
                    "of its VMs stays reserved until this host boots cold");
  }
  // Using new to access a non-public constructor.
  auto incoming =
      absl::WrapUnique(new LuoIncoming(std::move(store), *std::move(index)));
  absl::StatusOr<MappedRegion> image = MapImage(handover);
  if (image.ok()) {
    incoming->image_ = *std::move(image);
  } else {
    LogError(absl::StrCat("update ", incoming->update_id(),
                          ": its image is lost: ", image.status().message()));
  }
  return incoming;
}

absl::StatusOr<std::vector<std::string>> LuoIncoming::VmUuids() {
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> kept,
                      store_->keeper().List());
  std::vector<std::string> uuids;
  for (const LuoIndex::Vm& vm : index_.vms()) {
    if (std::binary_search(kept.begin(), kept.end(), vm.session()) ||
        std::binary_search(kept.begin(), kept.end(),
                           LuoLeftName(vm.session()))) {
      uuids.push_back(vm.uuid());
    }
  }
  absl::c_sort(uuids);
  return uuids;
}

absl::StatusOr<UniqueFd> LuoIncoming::RetrieveRam(absl::string_view vm_uuid,
                                                  absl::string_view block,
                                                  const PreservedRam& ram) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("not a VM's UUID");
  const std::string context = absl::StrCat("retrieve ", block);
  const LuoIndex::Vm* vm = FindVm(index_, vm_uuid);
  if (vm == nullptr) {
    return absl::DataLossError(
        absl::StrCat(context, ": nothing of this VM is preserved"));
  }
  const auto entry = absl::c_find_if(vm->blocks(), [block](const auto& known) {
    return known.name() == block;
  });
  if (entry == vm->blocks().end()) {
    return absl::DataLossError(
        absl::StrCat(context, ": no block of this name is preserved"));
  }
  if (ram.token != absl::StrCat(entry->token()) ||
      ram.identity.size_bytes != entry->size_bytes()) {
    return absl::DataLossError(absl::StrCat(
        context, ": token ", ram.token, ", ", ram.identity.size_bytes,
        " bytes by the image, but token ", entry->token(), ", ",
        entry->size_bytes(), " bytes by the index"));
  }

  const absl::StatusOr<std::unique_ptr<LuoSession>> session =
      store_->SessionOf(vm->session());
  if (absl::IsNotFound(session.status())) {
    return absl::DataLossError(absl::StrCat(
        context,
        ": its memory is given up or lost: ", session.status().message()));
  }
  if (!session.ok()) return Annotate(session.status(), context);
  absl::StatusOr<UniqueFd> fd = (*session)->Retrieve(entry->token());
  if (absl::IsNotFound(fd.status())) {
    return absl::DataLossError(
        absl::StrCat(context, ": ", fd.status().message()));
  }
  if (!fd.ok()) return Annotate(fd.status(), context);
  LU_ASSIGN_OR_RETURN(const uint64_t size_bytes, SizeOf(*fd));
  if (size_bytes != entry->size_bytes()) {
    return absl::DataLossError(absl::StrCat(context, ": ", size_bytes,
                                            " bytes, but ", entry->size_bytes(),
                                            " were preserved"));
  }
  return fd;
}

absl::Status LuoIncoming::MarkResumed(absl::string_view vm_uuid,
                                      const std::string& kernel) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("not a VM's UUID");
  return WriteFileAtomically(store_->ResumeMarkPath(update_id(), vm_uuid),
                             kernel);
}

absl::Status LuoIncoming::UnmarkResumed(absl::string_view vm_uuid) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("not a VM's UUID");
  return RemoveIfThere(store_->ResumeMarkPath(update_id(), vm_uuid));
}

absl::StatusOr<std::optional<ResumeMark>> LuoIncoming::FindResumeMark(
    absl::string_view vm_uuid) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("not a VM's UUID");
  const absl::StatusOr<std::string> kernel =
      ReadFile(store_->ResumeMarkPath(update_id(), vm_uuid), kMaxMarkBytes);
  if (absl::IsNotFound(kernel.status())) return std::nullopt;
  return ResumeMark{.kernel = kernel.ok() && IsSafeName(*kernel)
                                  ? *kernel
                                  : "that is not known",
                    .in_this_boot = true};
}

absl::Status LuoIncoming::Release(absl::string_view vm_uuid) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("not a VM's UUID");
  const LuoIndex::Vm* vm = FindVm(index_, vm_uuid);
  if (vm == nullptr) return absl::OkStatus();
  // One that was left in the kernel has to be retrieved to be finished.
  const absl::Status there = store_->SessionOf(vm->session()).status();
  if (absl::IsNotFound(there)) return absl::OkStatus();
  LU_RETURN_IF_ERROR(there);
  return store_->Finish(vm->session());
}

absl::Status LuoIncoming::Discard(absl::string_view vm_uuid) {
  return Release(vm_uuid);
}

absl::StatusOr<bool> LuoIncoming::FinishIfEmpty() {
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> left, VmUuids());
  if (!left.empty()) return false;
  LU_RETURN_IF_ERROR(store_->keeper().Drop(LuoNewName(kLuoHandoverSession)));
  LU_RETURN_IF_ERROR(store_->Finish(std::string(kLuoHandoverSession)));
  LU_RETURN_IF_ERROR(store_->NoteNoHandover());
  for (const LuoIndex::Vm& vm : index_.vms()) {
    LU_RETURN_IF_ERROR(UnmarkResumed(vm.uuid()));
  }
  return true;
}

}  // namespace live_update
