#include "host_update/underway.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "host_update/history.h"
#include "host_update/policy.h"
#include "host_update/report/report_json.h"

namespace live_update {
namespace {

constexpr uint64_t kLargestNote = 64 << 20;  // Bytes.

std::string NotePath(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/underway.json");
}

// In place or copied, it was in the memory that is gone.
bool IsGone(const VmReport& vm) {
  return vm.way() == WayName(Policy::IN_PLACE) ||
         vm.way() == WayName(Policy::COPY);
}

bool IsOff(const std::string& uuid, const std::vector<VmInfo>& vms) {
  for (const VmInfo& vm : vms) {
    if (vm.ref.uuid == uuid) return vm.state == VmState::kOff;
  }
  return true;  // A transient one is not known any more.
}

}  // namespace

absl::Status NoteUnderway(const Journal& journal, const HostFacts& host,
                          const std::string& state_dir) {
  UpdateReport note;
  note.set_update_id(journal.update_id());
  note.set_started_at(journal.started_at());
  note.set_kernel_before(host.kernel_release);
  note.set_boot_id_before(host.boot_id);
  for (const Journal::Vm& vm : journal.vms()) {
    VmReport& entry = *note.add_vms();
    entry.set_name(vm.name());
    entry.set_uuid(vm.uuid());
    entry.set_was_running(vm.was_running());
    entry.set_way(std::string(WayName(Policy::IN_PLACE)));
  }
  for (const OtherVm& vm : journal.set_aside()) {
    VmReport& entry = *note.add_vms();
    entry.set_name(vm.name());
    entry.set_uuid(vm.uuid());
    entry.set_was_running(vm.was_running());
    entry.set_way(vm.way());
  }
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  LU_ASSIGN_OR_RETURN(const std::string json, ToJson(note));
  return WriteFileAtomically(NotePath(state_dir), json);
}

absl::Status ForgetUnderway(const std::string& state_dir) {
  if (unlink(NotePath(state_dir).c_str()) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("remove ", NotePath(state_dir)));
  }
  return SyncDirectory(state_dir);
}

absl::StatusOr<std::optional<UpdateReport>> FindLostUpdate(
    const HostFacts& host, const std::vector<VmInfo>& vms,
    const std::string& state_dir) {
  const auto json = ReadFile(NotePath(state_dir), kLargestNote);
  if (absl::IsNotFound(json.status())) return std::nullopt;
  if (!json.ok()) return json.status();
  UpdateReport note;
  if (!google::protobuf::util::JsonStringToMessage(*json, &note).ok()) {
    return absl::DataLossError(
        absl::StrCat(NotePath(state_dir), " is no note of an update"));
  }
  if (note.boot_id_before() == host.boot_id) return std::nullopt;
  if (ReadReport(state_dir, note.update_id()).ok()) return std::nullopt;

  UpdateReport report = note;
  report.clear_vms();
  for (const VmReport& vm : note.vms()) {
    if (!IsOff(vm.uuid(), vms)) continue;
    VmReport& lost = *report.add_vms();
    lost = vm;
    lost.set_result(VmReport::NOT_RESTORED);
    lost.set_reason("the host came up without the handover");
    lost.set_next_step(absl::StrCat(
        IsGone(vm) ? "nothing of it is kept, neither memory nor state: start "
                     "it afresh with `virsh start "
                   : "it was saved or shut down before: `virsh start ",
        vm.name(), "`"));
  }
  if (report.vms().empty()) return std::nullopt;
  report.set_result(UpdateReport::LOST);
  report.set_reason(absl::StrCat(
      "update ", report.update_id(), " of ", report.started_at(),
      " was under way when the host went down, and no handover was found "
      "after it: of ",
      report.vms_size(), " VMs that are off, ",
      absl::c_count_if(report.vms(), IsGone), " are lost"));
  report.set_kernel_after(host.kernel_release);
  report.set_boot_id_after(host.boot_id);
  return report;
}

}  // namespace live_update
