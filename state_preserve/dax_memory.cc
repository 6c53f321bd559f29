#include "state_preserve/dax_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "state_preserve/dax_incoming.h"
#include "state_preserve/dax_outgoing.h"
#include "state_preserve/names.h"
#include "state_preserve/scrub.h"

namespace live_update {
namespace {

// Opens every set in `incoming`. One that can't be opened is logged and stays:
// it must not keep the others from being restored.
absl::StatusOr<std::vector<std::unique_ptr<DaxIncoming>>> OpenAll(
    const std::shared_ptr<const DaxStore>& store, const UniqueFd& incoming) {
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(incoming));
  std::vector<std::unique_ptr<DaxIncoming>> sets;
  for (const std::string& name : names) {
    absl::StatusOr<std::unique_ptr<DaxIncoming>> set =
        DaxIncoming::Open(store, name);
    if (!set.ok()) {
      LogError(absl::StrCat(store->path, "/", kIncomingName, "/", name, ": ",
                            set.status().ToString()));
    } else if (*set != nullptr) {
      sets.push_back(std::move(set).value());
    }
  }
  return sets;
}

// The update id of the outgoing set.
absl::StatusOr<std::string> OutgoingId(const DaxStore& store) {
  LU_ASSIGN_OR_RETURN(const UniqueFd set,
                      OpenDirectoryAt(store.root, kOutgoingName));
  LU_ASSIGN_OR_RETURN(std::string update_id,
                      ReadFileAt(set, kUpdateIdName, kMaxIdBytes));
  if (!IsSafeName(update_id)) {
    return absl::DataLossError(absl::StrCat(store.path, "/", kOutgoingName,
                                            ": its update id is damaged"));
  }
  return update_id;
}

// Makes the outgoing set, whose id is `update_id`, an incoming one.
absl::StatusOr<std::unique_ptr<IncomingPreservation>> TakeOver(
    const std::shared_ptr<const DaxStore>& store,
    const std::string& update_id) {
  LU_ASSIGN_OR_RETURN(const UniqueFd incoming,
                      MakeDirectoryAt(store->root, kIncomingName));
  LU_RETURN_IF_ERROR(RenameAt(store->root, kOutgoingName, incoming, update_id));
  LU_RETURN_IF_ERROR(Sync(incoming));
  LU_RETURN_IF_ERROR(Sync(store->root));
  LU_ASSIGN_OR_RETURN(std::unique_ptr<DaxIncoming> handover,
                      DaxIncoming::Open(store, update_id));
  if (handover == nullptr) {
    return absl::DataLossError(
        absl::StrCat(store->path, ": update ", update_id, " has no ram/"));
  }
  return handover;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DaxMemory>> DaxMemory::Open(
    const DaxMemoryOptions& options) {
  LU_ASSIGN_OR_RETURN(DaxStore store,
                      OpenDaxStore(options.mount, options.requires_dax));
  store.boot_id = options.boot_id;
  if (store.boot_id.empty()) {
    LU_ASSIGN_OR_RETURN(
        const std::string boot_id,
        ReadFile("/proc/sys/kernel/random/boot_id", kMaxIdBytes));
    store.boot_id = std::string(absl::StripAsciiWhitespace(boot_id));
  }
  // Using new to access a non-public constructor.
  return absl::WrapUnique(
      new DaxMemory(std::make_shared<const DaxStore>(std::move(store))));
}

absl::string_view DaxMemory::backend() const {
  return store_->requires_dax ? "dax" : "directory";
}

absl::StatusOr<std::unique_ptr<OutgoingPreservation>> DaxMemory::Begin(
    absl::string_view update_id) {
  return DaxOutgoing::Begin(store_, std::string(update_id));
}

absl::Status DaxMemory::DiscardStaleOutgoing() {
  LU_ASSIGN_OR_RETURN(const OutgoingSet outgoing, FindOutgoing(*store_));
  if (outgoing == OutgoingSet::kOfThisBoot) {
    LU_RETURN_IF_ERROR(DiscardSet(*store_, store_->root, kOutgoingName));
  }
  // What was cut off before it had its name, or after it had lost it.
  LU_RETURN_IF_ERROR(RemoveSet(store_->root, kOutgoingNewName));
  return RemoveSet(store_->root, kDiscardedName);
}

absl::StatusOr<bool> DaxMemory::HasHandover() {
  LU_ASSIGN_OR_RETURN(const OutgoingSet outgoing, FindOutgoing(*store_));
  return outgoing == OutgoingSet::kOfAnotherBoot;
}

absl::StatusOr<std::unique_ptr<IncomingPreservation>> DaxMemory::Retrieve() {
  LU_ASSIGN_OR_RETURN(const bool has_handover, HasHandover());
  if (!has_handover) {
    return absl::NotFoundError(
        absl::StrCat("no handover of another boot in ", store_->path));
  }
  LU_ASSIGN_OR_RETURN(const std::string update_id, OutgoingId(*store_));
  return TakeOver(store_, update_id);
}

absl::StatusOr<std::unique_ptr<IncomingPreservation>>
DaxMemory::RetrieveInThisBoot(absl::string_view update_id) {
  const absl::Status none = absl::NotFoundError(absl::StrCat(
      "no outgoing set ", update_id, " of this boot in ", store_->path));
  LU_ASSIGN_OR_RETURN(const OutgoingSet outgoing, FindOutgoing(*store_));
  if (outgoing != OutgoingSet::kOfThisBoot) return none;
  LU_ASSIGN_OR_RETURN(const std::string its_id, OutgoingId(*store_));
  if (its_id != update_id) return none;
  return TakeOver(store_, its_id);
}

absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
DaxMemory::Unfinished() {
  LU_ASSIGN_OR_RETURN(const UniqueFd incoming,
                      MakeDirectoryAt(store_->root, kIncomingName));
  LU_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<DaxIncoming>> sets,
                      OpenAll(store_, incoming));
  std::sort(sets.begin(), sets.end(), [](const auto& a, const auto& b) {
    return a->begun_at() > b->begun_at();
  });
  return std::vector<std::unique_ptr<IncomingPreservation>>(
      std::make_move_iterator(sets.begin()),
      std::make_move_iterator(sets.end()));
}

absl::StatusOr<uint64_t> DaxMemory::CollectGarbage() {
  LU_ASSIGN_OR_RETURN(const UniqueFd running,
                      MakeDirectoryAt(store_->root, kRunningName));
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> uuids,
                      ListDirectory(running));
  uint64_t freed_bytes = 0;
  absl::Status first_error;
  for (const std::string& uuid : uuids) {
    const absl::StatusOr<uint64_t> bytes = CollectRunning(running, uuid);
    if (bytes.ok()) {
      freed_bytes += *bytes;
    } else {
      first_error.Update(Annotate(bytes.status(), uuid));
    }
  }
  if (!first_error.ok()) return first_error;
  return freed_bytes;
}

absl::StatusOr<std::string> DaxMemory::CopyPath(absl::string_view vm_uuid) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("no UUID");
  LU_RETURN_IF_ERROR(MakeDirectoryAt(store_->root, kCopiesName).status());
  return absl::StrCat(store_->path, "/", kCopiesName, "/", vm_uuid);
}

absl::StatusOr<std::vector<std::string>> DaxMemory::Copies() {
  const absl::StatusOr<UniqueFd> copies =
      OpenDirectoryAt(store_->root, kCopiesName);
  if (absl::IsNotFound(copies.status())) return std::vector<std::string>();
  LU_RETURN_IF_ERROR(copies.status());
  LU_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(*copies));
  std::erase_if(names, [](const std::string& name) { return !IsUuid(name); });
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status DaxMemory::RemoveCopy(absl::string_view vm_uuid) {
  if (!IsUuid(vm_uuid)) return absl::InvalidArgumentError("no UUID");
  const absl::StatusOr<UniqueFd> copies =
      OpenDirectoryAt(store_->root, kCopiesName);
  if (absl::IsNotFound(copies.status())) return absl::OkStatus();
  LU_RETURN_IF_ERROR(copies.status());
  const std::string name(vm_uuid);
  LU_RETURN_IF_ERROR(
      Annotate(ScrubAndUnlink(*copies, name), "remove the copy"));
  LU_RETURN_IF_ERROR(Sync(*copies));
  // Only if it was the last one.
  (void)unlinkat(store_->root.get(), kCopiesName, AT_REMOVEDIR);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> DaxMemory::FreeBytes() { return FreeBytesOf(*store_); }

}  // namespace live_update
