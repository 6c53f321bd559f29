// Preflight of one VM: can it be carried, in place, and what would help if not?

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "host_update/preflight_findings.h"

namespace live_update {
namespace {

std::string StopAndStart(const VmFacts& vm) {
  const std::string& name = vm.info.ref.name;
  return absl::StrCat("virsh shutdown ", name, ", then virsh start ", name);
}

std::string EditRemedy(const VmFacts& vm, absl::string_view change) {
  return absl::StrCat("virsh edit ", vm.info.ref.name, ": ", change,
                      ", then stop and start it");
}

// Whether the VM has a QEMU process at all; says so if not.
bool HasState(const VmInfo& vm, Findings& findings) {
  switch (vm.state) {
    case VmState::kRunning:
      findings.Ok("VM_STATE", "running");
      return true;
    case VmState::kPaused:
      findings.Ok("VM_STATE", "paused, and stays so");
      return true;
    case VmState::kOff:
      findings.Ok("VM_STATE", "off: nothing to carry");
      return false;
    case VmState::kOther:
      break;
  }
  findings.Error("VM_STATE", "in a state that can't be carried",
                 absl::StrCat("virsh domstate --reason ", vm.ref.name,
                              "; then virsh resume, or virsh destroy"));
  return false;
}

void CheckVersion(const VmFacts& vm,
                  const absl::StatusOr<HypervisorVersions>& versions,
                  Findings& findings) {
  const std::string runs = absl::StrCat("runs in QEMU ", vm.qemu_version);
  if (!IsAtLeast(vm.qemu_version, kOldestQemu[0], kOldestQemu[1])) {
    findings.Error("VM_QEMU_VERSION",
                   absl::StrCat(runs,
                                "; 10.0 is needed (it was started "
                                "before QEMU was upgraded?)"),
                   StopAndStart(vm));
    return;
  }
  if (!versions.ok() || versions->qemu == vm.qemu_version) {
    findings.Ok("VM_QEMU_VERSION", runs);
    return;
  }
  const std::string both =
      absl::StrCat(runs, ", would be restored by ", versions->qemu);
  findings.Warning(
      "VM_QEMU_VERSION", both,
      absl::StrCat("to start from equal versions: ", StopAndStart(vm)));
}

void CheckMachineType(const VmFacts& vm, Findings& findings) {
  // "q35" and "pc" mean another machine in each QEMU version.
  const size_t dash = vm.machine_type.rfind('-');
  const bool versioned =
      dash != std::string::npos && dash + 1 < vm.machine_type.size() &&
      vm.machine_type[dash + 1] >= '0' && vm.machine_type[dash + 1] <= '9';
  if (versioned && (absl::StartsWith(vm.machine_type, "pc-"))) {
    findings.Ok("MACHINE_TYPE", vm.machine_type);
    return;
  }
  findings.Error(
      "MACHINE_TYPE",
      absl::StrCat(vm.machine_type.empty() ? "unknown" : vm.machine_type,
                   versioned ? ": not a PC" : ": has no version"),
      EditRemedy(vm, "<type machine='pc-q35-10.0'>hvm</type>"));
}

void CheckInstalledQemu(const VmFacts& vm, const absl::Status& installed,
                        Findings& findings) {
  if (installed.ok()) {
    findings.Ok("VM_QEMU_INSTALLED",
                absl::StrCat("the installed QEMU has ", vm.machine_type));
    return;
  }
  findings.Error(
      "VM_QEMU_INSTALLED",
      absl::StrCat("the QEMU that is installed could not start it again: ",
                   installed.message()),
      absl::StrCat("install one that has ", vm.machine_type,
                   "; or give the VM a machine that it has: virsh edit ",
                   vm.info.ref.name, ", then stop and start it"));
}

// What is wrong with where a shared RAM block lies; empty if nothing is.
std::string WrongPlaceForDax(const RamPlace& place,
                             const PreservedMount& mount) {
  if (place.device != mount.device) {
    return absl::StrCat(
        "lies on another file system (a memfd, or a file "
        "elsewhere), not in ",
        mount.directory);
  }
  if (place.links == 0) return "its file was removed while the VM ran";
  if (mount.dax == PreservedMount::Dax::kPerFile && !place.dax) {
    return "its file is not a DAX file, and lies in the page cache";
  }
  return "";
}

// LUO takes shmem files without a name. It keeps a list of all 4 KiB pages
// while it takes one over, which the kernel gives it up to 2 GiB for.
std::string WrongPlaceForLuo(const RamPlace& place, uint64_t size_bytes) {
  constexpr uint64_t kTooLarge = uint64_t{1} << 40;
  if (!place.shmem) {
    return "lies in a file or in hugetlbfs, not in a memfd of ordinary pages";
  }
  if (place.links != 0) {
    return absl::StrCat("its file has ", place.links,
                        place.links == 1 ? " name" : " names",
                        "; a memfd, which has none, is needed");
  }
  if (size_bytes >= kTooLarge) {
    return "is 1 TiB or larger: more than LUO takes in one memfd; split it "
           "over guest NUMA nodes (<numa><cell …/></numa>)";
  }
  return "";
}

// Whether what backs the VMs' RAM is known; if not, another finding has told.
bool KnowsPlaces(const PreflightInput& input) {
  return input.backend == Backend::kLuo || input.host.preserved.ok();
}

std::string WrongPlace(const absl::StatusOr<RamPlace>& place,
                       const GuestRam& ram, const PreflightInput& input) {
  if (!place.ok()) return std::string(place.status().message());
  return input.backend == Backend::kLuo
             ? WrongPlaceForLuo(*place, ram.size_bytes)
             : WrongPlaceForDax(*place, *input.host.preserved);
}

std::string PlaceRemedy(const VmFacts& vm, const PreflightInput& input,
                        absl::string_view memory_backing) {
  if (input.backend == Backend::kLuo) return EditRemedy(vm, memory_backing);
  return absl::StrCat("memory_backing_dir = \"",
                      input.host.preserved->directory,
                      "\" in /etc/libvirt/qemu.conf, systemctl restart "
                      "libvirtd; ",
                      EditRemedy(vm, memory_backing));
}

void CheckRam(const ExaminedVm& examined, const PreflightInput& input,
              Findings& findings) {
  const std::string shared =
      absl::StrCat("<memoryBacking><source type='",
                   input.backend == Backend::kLuo ? "memfd" : "file",
                   "'/><access mode='shared'/></memoryBacking>");
  const VmFacts& vm = *examined.facts;
  if (vm.ram.empty()) {
    findings.Error("RAM_NOT_SHARED", "its RAM has no memory backend of its own",
                   EditRemedy(vm, shared));
    return;
  }
  uint64_t total = 0;
  bool preservable = true;
  for (size_t i = 0; i < vm.ram.size(); ++i) {
    const GuestRam& ram = vm.ram[i];
    const std::string block =
        absl::StrCat("RAM block ", ram.name, " (", Size(ram.size_bytes), ") ");
    total += ram.size_bytes;
    if (!ram.shared) {
      findings.Error("RAM_NOT_SHARED", absl::StrCat(block, "is private memory"),
                     EditRemedy(vm, shared));
      preservable = false;
      continue;
    }
    if (!KnowsPlaces(input)) {
      preservable = false;
      continue;
    }
    const std::string wrong = i < examined.places.size()
                                  ? WrongPlace(examined.places[i], ram, input)
                                  : "where it lies is not known";
    if (wrong.empty()) continue;
    preservable = false;
    findings.Error("RAM_NOT_PRESERVABLE", absl::StrCat(block, wrong),
                   PlaceRemedy(vm, input, shared));
  }
  if (preservable) {
    findings.Ok(
        "RAM_PRESERVABLE",
        absl::StrCat(Size(total), " in ", vm.ram.size(),
                     vm.ram.size() == 1 ? " block" : " blocks", ", shared, in ",
                     input.backend == Backend::kLuo
                         ? "memfds"
                         : input.host.preserved->directory));
  }
}

// LUO hands RAM over page by page, of whatever size: huge ones make that 512
// times less work, in the blackout.
void CheckHugePages(const VmFacts& vm, Findings& findings) {
  const std::optional<RamPages> pages = PagesOf(vm.ram);
  if (!pages.has_value()) return;
  const std::string found =
      absl::StrCat(Size(pages->huge_bytes), " of ", Size(pages->resident_bytes),
                   " of resident RAM in huge pages");
  if (pages->huge_bytes >= pages->resident_bytes / 2) {
    findings.Ok("RAM_HUGE_PAGES", found);
    return;
  }
  findings.Warning(
      "RAM_HUGE_PAGES", absl::StrCat(found, ": the blackout will be longer"),
      absl::StrCat("echo advise > "
                   "/sys/kernel/mm/transparent_hugepage/shmem_enabled; then ",
                   StopAndStart(vm)));
}

void CheckAuxRam(const VmFacts& vm, Findings& findings) {
  if (vm.aux_ram_share) {
    findings.Ok("AUX_RAM_SHARE", "aux-ram-share=on");
    return;
  }
  findings.Error(
      "AUX_RAM_SHARE",
      "QEMU was started without aux-ram-share=on: firmware and video memory "
      "can't be carried",
      EditRemedy(vm,
                 "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/"
                 "1.0'> … <qemu:commandline><qemu:arg value='-machine'/>"
                 "<qemu:arg value='aux-ram-share=on'/></qemu:commandline>"));
}

void CheckDevices(const VmFacts& vm, Findings& findings) {
  for (const std::string& reason : vm.blocked_reasons) {
    findings.Error("QEMU_BLOCKED", absl::StrCat("QEMU says: ", reason),
                   EditRemedy(vm, "take out the device or feature it names"));
  }
  if (vm.blocked_reasons.empty()) {
    findings.Ok("QEMU_BLOCKED", "QEMU has no objection to cpr-transfer");
  }
  for (const std::string& device : vm.unsupported) {
    findings.Error("UNSUPPORTED_DEVICE",
                   absl::StrCat(device, " does not survive the kexec"),
                   absl::StrCat("virsh detach-device ", vm.info.ref.name,
                                " FILE.xml with it, or shut the VM down: "
                                "virsh shutdown ",
                                vm.info.ref.name));
  }
  if (vm.unsupported.empty()) {
    findings.Ok("UNSUPPORTED_DEVICE", "every device can be carried");
  }
}

void CheckBlockJobs(const VmFacts& vm, Findings& findings) {
  if (vm.block_jobs.empty()) {
    findings.Ok("BLOCK_JOB", "no block job is active");
    return;
  }
  findings.Error(
      "BLOCK_JOB",
      absl::StrCat("active block jobs: ", absl::StrJoin(vm.block_jobs, ", ")),
      absl::StrCat("wait for it (virsh blockjob ", vm.info.ref.name,
                   " DISK --info) or end it (--abort)"));
}

void CheckBridges(const VmFacts& vm, const HostFacts& host,
                  Findings& findings) {
  std::vector<std::string> missing;
  for (const std::string& bridge : vm.bridges) {
    if (host.network_interfaces.count(bridge) == 0) missing.push_back(bridge);
  }
  if (!missing.empty()) {
    findings.Error(
        "BRIDGE_PRESENT",
        absl::StrCat("the host has no bridge ", absl::StrJoin(missing, ", ")),
        absl::StrCat("ip link add ", missing.front(),
                     " type bridge, and in the host's network "
                     "configuration, so that it is there at boot"));
  } else if (!vm.bridges.empty()) {
    findings.Ok("BRIDGE_PRESENT", absl::StrJoin(vm.bridges, ", "));
  }
}

}  // namespace

void EvaluateVm(const ExaminedVm& vm, const PreflightInput& input,
                CheckReport* report) {
  Findings findings(vm.info.ref.name, report);
  if (!HasState(vm.info, findings)) return;
  if (!vm.facts.ok()) {
    findings.Error(
        "VM_EXAMINED",
        absl::StrCat("can't be examined: ", vm.facts.status().message()),
        absl::StrCat("virsh qemu-monitor-command ", vm.info.ref.name,
                     " --hmp info status; if it does not answer, "
                     "its QEMU hangs: virsh destroy"));
    return;
  }
  CheckVersion(*vm.facts, input.versions, findings);
  CheckMachineType(*vm.facts, findings);
  CheckInstalledQemu(*vm.facts, vm.installed_qemu, findings);
  CheckRam(vm, input, findings);
  if (input.backend == Backend::kLuo) CheckHugePages(*vm.facts, findings);
  CheckAuxRam(*vm.facts, findings);
  CheckDevices(*vm.facts, findings);
  CheckBlockJobs(*vm.facts, findings);
  CheckBridges(*vm.facts, input.host, findings);
}

}  // namespace live_update
