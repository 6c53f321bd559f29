#ifndef TESTING_FAKE_HYPERVISOR_H_
#define TESTING_FAKE_HYPERVISOR_H_

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host_update/hypervisor.h"

namespace live_update::testing {

// Keeps VMs whose RAM is a real file each, so that "the same memory" can be
// checked by inode and by contents. A VM's device state is its name and how
// many times it was saved.
class FakeHypervisor final : public Hypervisor {
 public:
  struct Vm {
    VmInfo info;
    std::string ram_path;  // Of the RAM that it was first started with.
    uint64_t ram_inode = 0;
    int saves = 0;
    bool save_pending = false;  // Saved, not resumed since.
    int announced = 0;
    bool restore_abandoned = false;
    std::string definition = "memory of its own";
    std::string loaded_state;              // Device state it was restored from.
    UniqueFd ram;                          // QEMU's own fd; unset while off.
    std::optional<absl::Time> guest_time;  // Set: it has a guest agent.
    absl::Duration guest_set_time_takes;   // No time passes for it.
    std::vector<std::string> guest_hooks;  // Words that its hook was run with.
    bool private_ram = false;              // What Examine tells of it.
    // Attributes of its policy in metadata.
    std::vector<std::pair<std::string, std::string>> policy;
    int boots = 1;  // How often its guest has.
    bool ignores_shutdown = false;
    std::string managed_image;  // Its memory, saved; empty: none.
    VmState managed_state = VmState::kOff;
    VmProcess process;  // Of its last QEMU.
  };

  // RAM files are made in `dir`; with an empty one they are memfds, and have no
  // `ram_path`.
  explicit FakeHypervisor(std::string dir) : dir_(std::move(dir)) {}

  // Adds a VM of one RAM block, "pc.ram", that holds `memory`. UUIDs are
  // counted up from …0001. Returns its reference.
  VmRef AddVm(const std::string& name, VmState state,
              const std::string& memory);

  // What a kexec does to VMs: none runs; QEMU's fds are closed.
  void Kexec();

  // Makes the next calls of this kind for this VM fail, `times` of them. `call`
  // is the method's name.
  void FailNext(const std::string& call, const std::string& vm,
                absl::Status status, int times = 1);

  // What libvirt does when a VM stops: the name that it gave the RAM goes.
  void RemoveRamOnEnd() { remove_ram_on_end_ = true; }

  // The VM's QEMU dies by itself.
  void Crash(const std::string& vm);

  // As if a restore of the VM had been cut off with its process: it is there,
  // paused, and answers nothing until EndAbandonedRestore.
  void AbandonRestore(const std::string& vm);

  // Gives the guest an agent, and its clock this time, at which it stands.
  void SetAgent(const std::string& vm, absl::Time guest_time);
  // Lets a test change what a VM is.
  Vm& MutableVm(const std::string& name) { return vms_.at(name); }

  // Restore, RestoreFromFile and Start: "Restore vm1", in the order in which
  // they were called.
  const std::vector<std::string>& started() const { return started_; }

  // Called at the beginning of a call of this kind for this VM.
  void OnCall(const std::string& call, const std::string& vm,
              std::function<void()> action);

  const Vm& vm(const std::string& name);
  // What the VM's RAM holds, read through QEMU's own fd.
  std::string Memory(const std::string& name);

  absl::StatusOr<HypervisorVersions> Versions(absl::Time deadline) override;
  absl::StatusOr<std::vector<VmInfo>> List(absl::Time deadline) override;
  absl::StatusOr<VmFacts> Examine(const VmRef& vm,
                                  absl::Time deadline) override;
  absl::Status CheckInstalledQemu(const VmRef& vm,
                                  absl::Time deadline) override;
  absl::StatusOr<VmDescription> Describe(const VmRef& vm,
                                         absl::Time deadline) override;
  absl::Status Pause(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<SavedVm> Save(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<VmProcess> FindProcess(const VmRef& vm,
                                        absl::Time deadline) override;
  absl::Status EndProcess(const VmRef& vm, const VmProcess& process,
                          absl::Time deadline) override;
  absl::Status Resume(const VmRef& vm, bool run, absl::Time deadline) override;
  void EndAbandonedRestore(const VmRef& vm, absl::Time deadline) override;
  absl::Status Restore(const RestorableVm& vm, absl::Time deadline) override;
  absl::Status Announce(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<absl::Time> GuestTime(const VmRef& vm,
                                       absl::Time deadline) override;
  absl::Status SetGuestTime(const VmRef& vm, absl::Time now,
                            absl::Time deadline) override;
  absl::Status RunGuestHook(const VmRef& vm, const std::string& word,
                            absl::Time deadline) override;
  absl::StatusOr<DefinitionChange> EditDefinition(const VmRef& vm,
                                                  const DefinitionEdit& edit,
                                                  absl::Time deadline) override;
  absl::Status Start(const VmRef& vm, absl::Time deadline) override;
  absl::Status ManagedSave(const VmRef& vm, absl::Time deadline) override;
  absl::Status SaveToFile(const VmRef& vm, const std::string& file,
                          absl::Time deadline) override;
  absl::Status RestoreFromFile(const VmRef& vm, const std::string& file,
                               bool run, absl::Time deadline) override;
  absl::Status StopSaving(const VmRef& vm, absl::Time deadline) override;
  absl::Status Shutdown(const VmRef& vm, absl::Time deadline) override;

 private:
  // The VM, or kNotFound, or what FailNext asked for.
  absl::StatusOr<Vm*> Enter(const std::string& call, const VmRef& vm);
  void End(Vm& vm);

  // The same of a VM whose guest agent answers.
  absl::StatusOr<Vm*> EnterAgent(const std::string& call, const VmRef& vm);

  const std::string dir_;
  int64_t next_pid_ = 1000;
  bool remove_ram_on_end_ = false;
  std::mutex mutex_;
  std::map<std::string, Vm> vms_;  // By name.
  struct Failure {
    absl::Status status;
    int times = 0;
  };
  std::map<std::pair<std::string, std::string>, Failure> fail_next_;
  std::map<std::pair<std::string, std::string>, std::function<void()>> on_call_;
  std::vector<std::string> started_;
};

}  // namespace live_update::testing

#endif  // TESTING_FAKE_HYPERVISOR_H_
