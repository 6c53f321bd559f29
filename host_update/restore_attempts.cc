#include "host_update/restore_attempts.h"

#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/log.h"
#include "host_update/history.h"
#include "host_update/policy.h"
#include "host_update/set_aside.h"
#include "host_update/spans.h"

namespace live_update {
namespace {

std::string AttemptsPath(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/restore-attempts");
}

// Attempts of `update_id` that were begun and came to no end. What can't be
// read counts as none: VMs wait.
int CountAttempts(const std::string& state_dir, const std::string& update_id) {
  const std::string path = AttemptsPath(state_dir);
  const absl::StatusOr<std::string> text = ReadFile(path, 256);
  if (absl::IsNotFound(text.status())) return 0;
  if (!text.ok()) {
    LogWarning(text.status().message());
    return 0;
  }
  const std::vector<std::string> words =
      absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  int count = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &count) || count < 0) {
    LogWarning(absl::StrCat(path,
                            " holds no update and number; it is made "
                            "anew"));
    return 0;
  }
  return words[0] == update_id ? count : 0;
}

VmReport& EntryOf(const std::string& uuid, UpdateReport& report) {
  for (VmReport& vm : *report.mutable_vms()) {
    if (vm.uuid() == uuid) return vm;
  }
  VmReport& added = *report.add_vms();
  added.set_uuid(uuid);
  return added;
}

// The name of a VM in place. Its UUID: the image does not know it.
std::string NameOf(const std::string& uuid, const HandoverReader& reader) {
  for (const auto& vm : reader.vms()) {
    if (vm.uuid == uuid) return vm.name;
  }
  return uuid;
}

}  // namespace

absl::Status BeginAttempt(const std::string& state_dir,
                          const std::string& update_id, Attempt attempt) {
  const int before = CountAttempts(state_dir, update_id);
  if (attempt == Attempt::kAutomatic && before >= kAutomaticAttempts) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the restore of update ", update_id, " was begun ", before,
        " times and came to no end (the restorer was killed or failed, or the "
        "host went down); it is not tried again by itself, and everything is "
        "kept. Look into the journal of these boots, then `host-update restore "
        "--again` tries all VMs, `host-update restore --retry VM` one of "
        "them"));
  }
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  const absl::Status counted =
      WriteFileAtomically(AttemptsPath(state_dir),
                          absl::StrCat(update_id, " ", before + 1, "\n"), 0600);
  if (!counted.ok()) {
    LogWarning(absl::StrCat("this attempt to restore is not counted: ",
                            counted.message()));
  }
  return absl::OkStatus();
}

void EndAttempts(const std::string& state_dir) {
  if (absl::Status status = RemoveIfThere(AttemptsPath(state_dir));
      !status.ok()) {
    LogWarning(status.message());
  }
}

absl::StatusOr<UpdateReport> ReportGivenUp(const absl::Status& why,
                                           const HandoverReader& reader,
                                           IncomingPreservation& incoming,
                                           const HostFacts& host,
                                           const Dependencies& deps) {
  UpdateReport report = BeginReport(reader.host(), host);
  if (auto earlier = ReadReport(deps.paths.state_dir, report.update_id());
      earlier.ok()) {
    *report.mutable_vms() = std::move(*earlier->mutable_vms());
  }
  absl::StatusOr<std::vector<std::string>> waiting = incoming.VmUuids();
  if (!waiting.ok()) return waiting.status();
  // The report must not wait for a hypervisor: it may be what fails.
  const auto vms = deps.hypervisor->List(absl::Now() + deps.limits.call);
  for (const std::string& uuid : *waiting) {
    VmReport& vm = EntryOf(uuid, report);
    vm.Clear();
    vm.set_uuid(uuid);
    vm.set_name(NameOf(uuid, reader));
    vm.set_way(std::string(WayName(Policy::IN_PLACE)));
    vm.set_result(VmReport::NOT_RESTORED);
    const bool runs =
        vms.ok() && absl::c_any_of(*vms, [&uuid](const VmInfo& info) {
          return info.ref.uuid == uuid && info.state != VmState::kOff;
        });
    vm.set_reason(runs ? "it is not off, but an attempt that was cut off may "
                         "have left it so"
                       : "its restore was cut off each time it was tried");
    vm.set_next_step(absl::StrCat(
        "memory and state are kept: `host-update restore --retry ", vm.name(),
        "` tries it alone, `host-update restore "
        "--again` all VMs, `host-update restore --discard ",
        vm.name(), "` gives it up"));
  }
  for (const OtherVm& other : reader.host().other_vms()) {
    VmReport& vm = EntryOf(other.uuid(), report);
    if (!vm.name().empty()) continue;  // As an earlier report has it.
    vm.set_name(other.name());
    vm.set_way(other.way());
    vm.set_was_running(other.was_running());
    vm.set_result(VmReport::NOT_RESTORED);
    vm.set_reason("it comes after the VMs in place, which are not restored");
    vm.set_next_step(absl::StrCat("`host-update restore --again`, or ",
                                  HowToStart(other, deps)));
  }
  ConcludeReport(report);
  report.set_reason(std::string(why.message()));
  return report;
}

}  // namespace live_update
