// The seam to whatever runs the VMs. libvirt/ is the real one,
// testing/fake_hypervisor.h the one for tests.

#ifndef HOST_UPDATE_HYPERVISOR_H_
#define HOST_UPDATE_HYPERVISOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace live_update {

struct VmRef {
  std::string name;
  std::string uuid;  // Lower case, with dashes.

  // Whether an operator's `name_or_uuid` means this VM.
  bool IsCalled(absl::string_view name_or_uuid) const {
    return name == name_or_uuid || uuid == name_or_uuid;
  }
};

enum class VmState { kRunning, kPaused, kOff, kOther };

// A VM as the hypervisor lists it.
struct VmInfo {
  VmRef ref;
  VmState state = VmState::kOther;
  bool persistent = false;
  bool autostart = false;
};

// What a VM's memory consists of, as far as its QEMU has it mapped.
struct RamPages {
  uint64_t resident_bytes = 0;
  uint64_t huge_bytes = 0;  // Of these, in huge pages (2 MiB).
};

// One block of guest RAM that QEMU's memory devices name (query-memdev), open
// for reading and writing: the very memory the guest uses.
struct GuestRam {
  std::string name;  // RAM block id: "pc.ram", "ram-node0", "dimm0".
  uint64_t size_bytes = 0;
  bool shared = false;
  // Unset if the block is private memory, of which there is no file descriptor.
  UniqueFd fd;
  std::optional<RamPages> pages;  // Unset: not known.
};

// Of all blocks together. Unset if it is not known of one, or there is none.
inline std::optional<RamPages> PagesOf(const std::vector<GuestRam>& ram) {
  RamPages all;
  for (const GuestRam& block : ram) {
    if (!block.pages.has_value()) return std::nullopt;
    all.resident_bytes += block.pages->resident_bytes;
    all.huge_bytes += block.pages->huge_bytes;
  }
  if (ram.empty()) return std::nullopt;
  return all;
}

// What preflight wants to know of one VM. Taken without changing it.
struct VmFacts {
  VmInfo info;
  std::string qemu_version;  // "10.0.2"
  std::string machine_type;  // "pc-q35-10.0"
  bool aux_ram_share = false;
  std::vector<GuestRam> ram;
  // QEMU's own words on why it can't be carried by cpr-transfer. Empty: it can.
  std::vector<std::string> blocked_reasons;
  // The same of its ordinary stream, by which it is saved to disk or copied.
  std::vector<std::string> save_blocked_reasons;
  // What its metadata ask for (policy.h): attributes and values, as they stand.
  std::vector<std::pair<std::string, std::string>> policy;
  // Devices and features in the domain XML that don't survive: "hostdev pci
  // 0000:3b:00.0", "filesystem virtiofs", "launchSecurity sev", ….
  std::vector<std::string> unsupported;
  std::vector<std::string> block_jobs;  // Active ones.
  // Host things a restore needs: bridges by name.
  std::vector<std::string> bridges;
};

// One file descriptor of QEMU's cpr channel.
struct CprFd {
  std::string name;
  uint32_t id = 0;
  UniqueFd fd;
};

// A paused VM, taken out of QEMU: everything but the contents of its RAM.
struct SavedVm {
  std::vector<CprFd> cpr_fds;  // In the channel's order.
  std::string device_state;    // QEMU's main migration stream.
};

// What stays the same from save to restore; taken while the VM runs.
struct VmDescription {
  std::string domain_xml;  // MIGRATABLE | SECURE.
  uint32_t qemu_uid = 0;
  uint32_t qemu_gid = 0;
  std::string qemu_version;
};

// A VM's QEMU process. No other process of this boot ever equals it.
struct VmProcess {
  int64_t pid = 0;
  uint64_t started = 0;  // Clock ticks after boot; tells a reused pid.

  friend bool operator==(const VmProcess& a, const VmProcess& b) {
    return a.pid == b.pid && a.started == b.started;
  }
};

// What a VM is made of again.
struct RestorableVm {
  VmRef ref;
  VmDescription description;
  bool was_running = true;
  SavedVm saved;
  // Called by Restore when the VM is there, paused, with all that it had, right
  // before it is let run or, if it was paused, is anybody's to be let run. On
  // an error it is not. Empty: nothing is called.
  std::function<absl::Status()> before_it_may_run;
};

// How a persistent definition is to be changed for updates in place.
struct DefinitionEdit {
  // "file" or "memfd": where RAM is to come from. Empty: undo.
  std::string memory_source;
  std::string original;  // To undo: the definition as it was before.
  bool dry_run = false;  // Only say what would come of it.
};

// Texts of a persistent definition. Equal: nothing is to be changed.
struct DefinitionChange {
  std::string before;
  std::string after;
};

struct HypervisorVersions {
  std::string libvirt;  // Of the daemon: "11.3.0"
  std::string qemu;     // That new VMs would get: "10.0.2"
};

// All calls may come from several threads at once, for different VMs. Every one
// returns by its deadline: kDeadlineExceeded then, with what it waited for;
// what was asked of the VM may still happen later.
class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  virtual absl::StatusOr<HypervisorVersions> Versions(absl::Time deadline) = 0;

  // All VMs the hypervisor knows, running or not.
  virtual absl::StatusOr<std::vector<VmInfo>> List(absl::Time deadline) = 0;

  virtual absl::StatusOr<VmFacts> Examine(const VmRef& vm,
                                          absl::Time deadline) = 0;

  // Whether the QEMU that is installed now, which may be another one than `vm`
  // runs in, offers the VM's machine. In the hypervisor's own words if not.
  virtual absl::Status CheckInstalledQemu(const VmRef& vm,
                                          absl::Time deadline) = 0;

  virtual absl::StatusOr<VmDescription> Describe(const VmRef& vm,
                                                 absl::Time deadline) = 0;

  // After it the VM's vCPUs stand still.
  virtual absl::Status Pause(const VmRef& vm, absl::Time deadline) = 0;

  // Takes the state of a paused VM. The VM stays paused and can be resumed, and
  // saved again after that. On failure it is paused as before.
  virtual absl::StatusOr<SavedVm> Save(const VmRef& vm,
                                       absl::Time deadline) = 0;

  // The process that runs `vm` now. kNotFound: none does.
  virtual absl::StatusOr<VmProcess> FindProcess(const VmRef& vm,
                                                absl::Time deadline) = 0;

  // Ends `process`, the QEMU of a saved VM: to be restored from what was saved
  // in a new one. After it the VM is off or, if it is transient, gone, and its
  // RAM lives only where others keep it. OK if it has ended already.
  // kFailedPrecondition: nothing was asked of it, it is alive: it has run on
  // since it was saved, or its end would destroy the RAM. Any other error: it
  // may end at any moment, and must not be resumed.
  virtual absl::Status EndProcess(const VmRef& vm, const VmProcess& process,
                                  absl::Time deadline) = 0;

  // Undoes Pause and Save, finished or broken off, also by a process that died:
  // cancels what QEMU still sends, puts its migration mode back and, if `run`,
  // lets the VM run. OK if it runs already. kNotFound: the VM is gone.
  virtual absl::Status Resume(const VmRef& vm, bool run,
                              absl::Time deadline) = 0;

  // If an earlier Restore of `vm` was cut off together with its process, ends
  // what that left: a hypervisor that waits for memory which nobody will send.
  // Nothing is done to a VM that has its memory. To be called before anything
  // else is asked about a VM that is to be restored: it would not be answered.
  virtual void EndAbandonedRestore(const VmRef& vm, absl::Time deadline) = 0;

  // Starts `vm` from its saved state; its RAM is the memory behind the fds. On
  // success it runs, or is paused if it was. On failure no QEMU of it is left
  // and the memory is as it was or, if `kAborted`, may have been changed by a
  // guest that ran for a moment: only after `before_it_may_run` was called.
  virtual absl::Status Restore(const RestorableVm& vm, absl::Time deadline) = 0;

  // Tells the network where the VM's NICs are now (gratuitous ARP).
  virtual absl::Status Announce(const VmRef& vm, absl::Time deadline) = 0;

  // The guest's wall clock, by its agent. So of these three: kUnimplemented:
  // the VM has no channel for one; kUnavailable: none is at its other end;
  // kDeadlineExceeded: none answers.
  virtual absl::StatusOr<absl::Time> GuestTime(const VmRef& vm,
                                               absl::Time deadline) = 0;
  virtual absl::Status SetGuestTime(const VmRef& vm, absl::Time now,
                                    absl::Time deadline) = 0;

  // Has the agent run /etc/qemu/host-update-hook of the guest with `word` as
  // its argument, and waits for its end. OK also if it is not over at the
  // deadline. kNotFound: the guest has no such file, or its agent runs none.
  // kFailedPrecondition: it failed.
  virtual absl::Status RunGuestHook(const VmRef& vm, const std::string& word,
                                    absl::Time deadline) = 0;

  // Changes a VM's persistent definition; what runs is left alone.
  // kFailedPrecondition: it has none, or can't be changed so.
  virtual absl::StatusOr<DefinitionChange> EditDefinition(
      const VmRef& vm, const DefinitionEdit& edit, absl::Time deadline) = 0;

  // Starts a VM that is off, as at host boot: from its managed save image, if
  // it has one, running or paused as it was then.
  virtual absl::Status Start(const VmRef& vm, absl::Time deadline) = 0;

  // Saves a persistent VM, running or paused, into an image that the hypervisor
  // keeps for Start, and ends it. On failure it runs on, or is paused, as
  // before.
  virtual absl::Status ManagedSave(const VmRef& vm, absl::Time deadline) = 0;

  // The same into a file that must not be there yet; it is gone after a
  // failure. Nothing but RestoreFromFile knows of it.
  virtual absl::Status SaveToFile(const VmRef& vm, const std::string& file,
                                  absl::Time deadline) = 0;

  // Starts a VM from such a file, running if `run`, else paused. The file
  // stays. On failure the VM is off.
  virtual absl::Status RestoreFromFile(const VmRef& vm, const std::string& file,
                                       bool run, absl::Time deadline) = 0;

  // Breaks off a ManagedSave or SaveToFile that a process which died left under
  // way. After it the VM is as before, or saved and off. OK if there is none.
  virtual absl::Status StopSaving(const VmRef& vm, absl::Time deadline) = 0;

  // Asks the guest to shut down and waits until the VM is off. On failure it
  // runs on, but may still do as it was asked later.
  virtual absl::Status Shutdown(const VmRef& vm, absl::Time deadline) = 0;
};

}  // namespace live_update

#endif  // HOST_UPDATE_HYPERVISOR_H_
