#include "host_update/enable.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "host_update/backend.h"
#include "host_update/line_diff.h"

namespace live_update {
namespace {

constexpr uint64_t kLargestDefinition = 4 << 20;  // Bytes.

absl::StatusOr<VmInfo> FindVm(const std::string& name_or_uuid,
                              const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const std::vector<VmInfo> vms,
                      deps.hypervisor->List(absl::Now() + deps.limits.call));
  for (const VmInfo& vm : vms) {
    if (vm.ref.IsCalled(name_or_uuid)) return vm;
  }
  return absl::NotFoundError(absl::StrCat("there is no VM ", name_or_uuid));
}

// Where the definition lies as it was. Libvirt made the UUID.
std::string OriginalPath(const VmRef& vm, const Dependencies& deps) {
  return absl::StrCat(deps.paths.state_dir, "/enabled/", vm.uuid, ".xml");
}

absl::Status KeepOriginal(const std::string& path, const std::string& xml) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return absl::OkStatus();
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(),
                                      error);
  return Annotate(WriteFileAtomically(path, xml, 0600),
                  "keep the definition for an undo");
}

std::string TakesEffect(const EnableReport& report, const VmInfo& vm) {
  if (!report.changed()) {
    return report.undone() ? "nothing to change back"
                           : "nothing to change: it is as it has to be";
  }
  if (report.dry_run()) return "nothing was changed: this was a dry run";
  return vm.state == VmState::kOff
             ? "holds from its next start"
             : "holds from its next start; until then it runs as it is "
               "(a reboot inside the VM is no start: virsh shutdown, virsh "
               "start)";
}

}  // namespace

absl::StatusOr<EnableReport> EnableVm(const EnableRequest& request,
                                      const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const Backend backend, ParseBackend(request.backend));
  LU_ASSIGN_OR_RETURN(const VmInfo vm, FindVm(request.vm, deps));
  const std::string original = OriginalPath(vm.ref, deps);
  DefinitionEdit edit;
  if (request.undo) {
    absl::StatusOr<std::string> kept = ReadFile(original, kLargestDefinition);
    if (absl::IsNotFound(kept.status())) {
      return absl::NotFoundError(absl::StrCat(
          vm.ref.name, " was not enabled here: there is nothing to undo"));
    }
    LU_RETURN_IF_ERROR(kept.status());
    edit.original = *std::move(kept);
  } else {
    edit.memory_source = backend == Backend::kLuo ? "memfd" : "file";
  }
  edit.dry_run = true;
  LU_ASSIGN_OR_RETURN(const DefinitionChange change,
                      deps.hypervisor->EditDefinition(
                          vm.ref, edit, absl::Now() + deps.limits.call));
  EnableReport report;
  report.set_vm(vm.ref.name);
  report.set_uuid(vm.ref.uuid);
  report.set_changed(change.before != change.after);
  report.set_undone(request.undo);
  report.set_dry_run(request.dry_run);
  report.set_diff(LineDiff(change.before, change.after));
  report.set_takes_effect(TakesEffect(report, vm));
  if (request.dry_run) return report;

  if (report.changed()) {
    if (!request.undo) {
      LU_RETURN_IF_ERROR(KeepOriginal(original, change.before));
    }
    edit.dry_run = false;
    LU_RETURN_IF_ERROR(
        deps.hypervisor
            ->EditDefinition(vm.ref, edit, absl::Now() + deps.limits.call)
            .status());
  }
  if (request.undo) {
    std::error_code error;
    std::filesystem::remove(original, error);
  }
  return report;
}

}  // namespace live_update
