#include "state_preserve/luo_outgoing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "state_preserve/luo_index.h"
#include "state_preserve/names.h"
#include "state_preserve/ram_identity.h"

namespace live_update {
namespace {

// mm/memfd_luo.c asks for 8 bytes per page in one kvmalloc(), which gives at
// most INT_MAX bytes. Past it the kernel warns and says ENOMEM.
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kLargestFileBytes =
    std::numeric_limits<int32_t>::max() / 8 * kPageBytes;

// A memfd of `size_bytes`, allocated, zeroed, mapped, its size sealed.
absl::StatusOr<MappedRegion> MakeArea(const char* name, uint64_t size_bytes,
                                      UniqueFd* fd) {
  fd->Reset(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd->ok()) return absl::ErrnoToStatus(errno, "memfd_create");
  const int error =
      posix_fallocate(fd->get(), 0, static_cast<off_t>(size_bytes));
  if (error == ENOSPC || error == ENOMEM) {
    return absl::ResourceExhaustedError(
        absl::StrCat(size_bytes, " bytes needed: ", std::strerror(error)));
  }
  if (error != 0) return absl::ErrnoToStatus(error, "allocate");
  LU_ASSIGN_OR_RETURN(MappedRegion area,
                      MappedRegion::MapReadWrite(*fd, size_bytes));
  // Takes the page faults now.
  std::memset(area.mutable_bytes().data(), 0, size_bytes);
  if (fcntl(fd->get(), F_ADD_SEALS,
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return absl::ErrnoToStatus(errno, "seal the size");
  }
  return area;
}

}  // namespace

absl::StatusOr<std::shared_ptr<LuoOutgoing>> LuoOutgoing::Begin(
    std::shared_ptr<const LuoStore> store, absl::string_view update_id) {
  if (!IsSafeName(update_id)) {
    return absl::InvalidArgumentError("update id is no safe name");
  }
  // Using new to access a non-public constructor.
  auto outgoing =
      std::shared_ptr<LuoOutgoing>(new LuoOutgoing(std::move(store)));
  absl::MutexLock lock(&outgoing->mutex_);
  outgoing->next_token_ = kFirstLuoRamToken;
  outgoing->index_.set_update_id(std::string(update_id));
  outgoing->index_.set_boot_id(outgoing->store_->boot_id());
  {
    LU_ASSIGN_OR_RETURN(const auto device, outgoing->store_->OpenDevice());
    LU_ASSIGN_OR_RETURN(
        outgoing->handover_,
        device->CreateSession(std::string(kLuoHandoverSession)));
  }
  UniqueFd fd;
  auto area = MakeArea("hu-index", kLuoIndexBytes, &fd);
  if (!area.ok()) return Annotate(area.status(), "index");
  outgoing->index_area_ = *std::move(area);
  LU_RETURN_IF_ERROR(
      Annotate(outgoing->handover_->Preserve(fd, kLuoIndexToken), "index"));
  LU_RETURN_IF_ERROR(
      WriteLuoIndex(outgoing->index_, outgoing->index_area_.mutable_bytes()));
  return outgoing;
}

absl::StatusOr<std::shared_ptr<LuoSession>> LuoOutgoing::SessionFor(
    const std::string& vm_uuid) {
  const auto known = vms_.find(vm_uuid);
  if (known != vms_.end()) return known->second;
  LU_ASSIGN_OR_RETURN(const auto device, store_->OpenDevice());
  LU_ASSIGN_OR_RETURN(
      std::shared_ptr<LuoSession> session,
      device->CreateSession(absl::StrCat(kLuoVmSessionPrefix, vm_uuid)));
  vms_[vm_uuid] = session;
  return session;
}

absl::StatusOr<PreservedRam> LuoOutgoing::PreserveRam(absl::string_view vm_uuid,
                                                      absl::string_view block,
                                                      const UniqueFd& fd) {
  if (!IsUuid(vm_uuid) || block.empty()) {
    return absl::InvalidArgumentError("no UUID, or no name of the block");
  }
  const std::string uuid(vm_uuid);
  const std::string context = absl::StrCat("preserve ", block);
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, context);
  const auto size_bytes = static_cast<uint64_t>(file.st_size);
  if (S_ISREG(file.st_mode) &&
      (size_bytes == 0 || size_bytes > kLargestFileBytes)) {
    return absl::FailedPreconditionError(absl::StrCat(
        context, ": ", size_bytes, " bytes in one file; the kernel takes 1 to ",
        kLargestFileBytes, ": give the VM several smaller NUMA nodes"));
  }

  const std::pair<uint64_t, uint64_t> inode(file.st_dev, file.st_ino);
  const std::pair<std::string, std::string> name(uuid, block);
  std::shared_ptr<LuoSession> session;
  uint64_t token = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (handover_ == nullptr) {
      return absl::FailedPreconditionError("nothing is preserved any more");
    }
    if (inodes_.contains(inode) || blocks_.contains(name)) {
      return absl::AlreadyExistsError(absl::StrCat(
          context, ": ", blocks_.contains(name) ? "this block" : "its memory",
          " is preserved already (inode ", file.st_ino, ")"));
    }
    LU_ASSIGN_OR_RETURN(session, SessionFor(uuid));
    token = next_token_++;
    inodes_.insert(inode);
    blocks_.insert(name);
  }
  // Not under the lock: this takes long, and other VMs need not wait.
  const absl::Status preserved = session->Preserve(fd, token);

  absl::MutexLock lock(&mutex_);
  if (!preserved.ok()) {
    inodes_.erase(inode);
    blocks_.erase(name);
    return Annotate(preserved, context);
  }
  if (handover_ == nullptr) {
    return absl::FailedPreconditionError("nothing is preserved any more");
  }
  LuoIndex::Vm* vm = nullptr;
  for (LuoIndex::Vm& known : *index_.mutable_vms()) {
    if (known.uuid() == uuid) vm = &known;
  }
  if (vm == nullptr) {
    vm = index_.add_vms();
    vm->set_uuid(uuid);
    vm->set_session(absl::StrCat(kLuoVmSessionPrefix, uuid));
  }
  LuoIndex::Block& entry = *vm->add_blocks();
  entry.set_name(std::string(block));
  entry.set_token(token);
  entry.set_size_bytes(size_bytes);
  // The kernel has no way to take one file back; Unpreserve() takes all.
  LU_RETURN_IF_ERROR(
      Annotate(WriteLuoIndex(index_, index_area_.mutable_bytes()), context));
  return PreservedRam{.token = absl::StrCat(token),
                      .identity = IdentityOf(file)};
}

absl::StatusOr<absl::Span<uint8_t>> LuoOutgoing::ReserveStateArea(
    uint64_t size_bytes) {
  absl::MutexLock lock(&mutex_);
  if (handover_ == nullptr || !state_area_.bytes().empty() || size_bytes == 0) {
    return absl::FailedPreconditionError(
        "state area: reserved already, of no size, or nothing is preserved any "
        "more");
  }
  LU_ASSIGN_OR_RETURN(const uint64_t free_bytes, LuoStore::FreeBytes());
  if (size_bytes > free_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "state area: ", size_bytes, " bytes needed, ", free_bytes, " free"));
  }
  UniqueFd fd;
  auto area = MakeArea("hu-image", size_bytes, &fd);
  if (!area.ok()) return Annotate(area.status(), "state area");
  LU_RETURN_IF_ERROR(
      Annotate(handover_->Preserve(fd, kLuoImageToken), "state area"));
  state_area_ = *std::move(area);
  return state_area_.mutable_bytes();
}

absl::Status LuoOutgoing::Flush() {
  absl::MutexLock lock(&mutex_);
  if (handover_ == nullptr) {
    return absl::FailedPreconditionError("nothing is preserved any more");
  }
  return ReadLuoIndex(index_area_.bytes()).status();
}

absl::Status LuoOutgoing::Unpreserve() {
  absl::MutexLock lock(&mutex_);
  handover_ = nullptr;
  vms_.clear();
  index_area_ = MappedRegion();
  inodes_.clear();
  blocks_.clear();
  return absl::OkStatus();
}

bool LuoOutgoing::is_held() {
  absl::MutexLock lock(&mutex_);
  return handover_ != nullptr;
}

}  // namespace live_update
