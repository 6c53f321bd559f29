#include "host_update/unrestored.h"

#include "absl/container/flat_hash_map.h"
#include "base/status_macros.h"
#include "host_update/journal.h"
#include "state_preserve/handover_reader.h"

namespace live_update {

absl::StatusOr<std::vector<UnrestoredVm>> FindUnrestoredVms(
    const std::vector<VmInfo>& vms, const Dependencies& deps) {
  absl::flat_hash_map<std::string, std::string> names;
  for (const VmInfo& vm : vms) names[vm.ref.uuid] = vm.ref.name;
  std::vector<UnrestoredVm> unrestored;
  if (deps.memory == nullptr) return unrestored;
  LU_ASSIGN_OR_RETURN(const auto sets, deps.memory->Unfinished());
  for (const auto& set : sets) {
    LU_ASSIGN_OR_RETURN(const auto uuids, set->VmUuids());
    // Only for what is said of it: no key is needed.
    const auto reader = HandoverReader::OpenUnverified(set->image());
    const bool qemu_restart = reader.ok() && reader->host().qemu_restart();
    for (const std::string& uuid : uuids) {
      const auto name = names.find(uuid);
      unrestored.push_back({.name = name == names.end() ? uuid : name->second,
                            .uuid = uuid,
                            .update_id = set->update_id(),
                            .qemu_restart = qemu_restart});
    }
  }
  // A copy that an update under way has made is not waiting yet.
  LU_ASSIGN_OR_RETURN(const auto journal, ReadJournal(deps.paths.run_dir));
  if (journal.has_value()) return unrestored;
  LU_ASSIGN_OR_RETURN(const auto copies, deps.memory->Copies());
  for (const std::string& uuid : copies) {
    const auto name = names.find(uuid);
    unrestored.push_back({.name = name == names.end() ? uuid : name->second,
                          .uuid = uuid,
                          .update_id = ""});
  }
  return unrestored;
}

}  // namespace live_update
