#include "testing/fake_hypervisor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "testing/memory_file.h"

namespace live_update::testing {
namespace {

constexpr char kFirmware[] = "firmware of ";

UniqueFd Duplicate(const UniqueFd& fd) {
  return UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
}

void TurnOff(FakeHypervisor::Vm& vm) {
  vm.info.state = VmState::kOff;
  vm.ram.Reset();
}

}  // namespace

VmRef FakeHypervisor::AddVm(const std::string& name, VmState state,
                            const std::string& memory) {
  Vm vm;
  vm.info.ref.name = name;
  vm.info.ref.uuid =
      absl::StrFormat("11111111-2222-3333-4444-%012d", vms_.size() + 1);
  vm.info.state = state;
  vm.info.persistent = true;
  if (!dir_.empty()) {
    vm.ram_path = absl::StrCat(dir_, "/", name, "-pc.ram");
    std::ofstream(vm.ram_path, std::ios::binary) << memory;
  }
  if (state != VmState::kOff) {
    vm.ram = dir_.empty()
                 ? MakeMemfd(memory)
                 : UniqueFd(open(vm.ram_path.c_str(), O_RDWR | O_CLOEXEC));
    vm.ram_inode = InodeOf(vm.ram);
    vm.process = {.pid = ++next_pid_, .started = 1};
  }
  VmRef ref = vm.info.ref;
  vms_[name] = std::move(vm);
  return ref;
}

void FakeHypervisor::Kexec() {
  for (auto& [name, vm] : vms_) {
    vm.info.state = VmState::kOff;
    vm.save_pending = false;
    vm.ram.Reset();
  }
}

void FakeHypervisor::FailNext(const std::string& call, const std::string& vm,
                              absl::Status status, int times) {
  std::lock_guard lock(mutex_);
  fail_next_[{call, vm}] = {.status = std::move(status), .times = times};
}

void FakeHypervisor::OnCall(const std::string& call, const std::string& vm,
                            std::function<void()> action) {
  std::lock_guard lock(mutex_);
  on_call_[{call, vm}] = std::move(action);
}

void FakeHypervisor::AbandonRestore(const std::string& name) {
  std::lock_guard lock(mutex_);
  vms_.at(name).restore_abandoned = true;
  vms_.at(name).process = {.pid = ++next_pid_, .started = 1};
  vms_.at(name).info.state = VmState::kPaused;
}

void FakeHypervisor::EndAbandonedRestore(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  const auto found = vms_.find(ref.name);
  if (found == vms_.end() || !found->second.restore_abandoned) return;
  found->second.restore_abandoned = false;
  found->second.info.state = VmState::kOff;
}

const FakeHypervisor::Vm& FakeHypervisor::vm(const std::string& name) {
  return vms_.at(name);
}

std::string FakeHypervisor::Memory(const std::string& name) {
  const Vm& vm = vms_.at(name);
  if (!vm.ram.ok()) return "";
  return ContentsOf(vm.ram);
}

absl::StatusOr<FakeHypervisor::Vm*> FakeHypervisor::Enter(
    const std::string& call, const VmRef& vm) {
  if (const auto action = on_call_.find({call, vm.name});
      action != on_call_.end()) {
    action->second();
  }
  if (const auto fail = fail_next_.find({call, vm.name});
      fail != fail_next_.end()) {
    const absl::Status status = fail->second.status;
    if (--fail->second.times == 0) fail_next_.erase(fail);
    return status;
  }
  const auto found = vms_.find(vm.name);
  if (found == vms_.end()) {
    return absl::NotFoundError(absl::StrCat("no such VM: ", vm.name));
  }
  if (found->second.restore_abandoned) {
    return absl::DeadlineExceededError(absl::StrCat(vm.name, " is silent"));
  }
  return &found->second;
}

absl::StatusOr<HypervisorVersions> FakeHypervisor::Versions(absl::Time) {
  return HypervisorVersions{.libvirt = "11.3.0", .qemu = "10.0.2"};
}

absl::StatusOr<std::vector<VmInfo>> FakeHypervisor::List(absl::Time) {
  std::lock_guard lock(mutex_);
  std::vector<VmInfo> list;
  for (const auto& [name, vm] : vms_) list.push_back(vm.info);
  return list;
}

absl::StatusOr<VmFacts> FakeHypervisor::Examine(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Examine", ref));
  if (vm->info.state == VmState::kOff) {
    return absl::FailedPreconditionError("it is off");
  }
  VmFacts facts;
  facts.info = vm->info;
  facts.qemu_version = "10.0.2";
  facts.machine_type = "pc-q35-10.0";
  facts.aux_ram_share = true;
  facts.policy = vm->policy;
  facts.ram.push_back(
      {.name = "pc.ram",
       .size_bytes = SizeOf(vm->ram),
       .shared = !vm->private_ram,
       .fd = Duplicate(vm->ram),
       .pages = RamPages{.resident_bytes = 8 << 20, .huge_bytes = 6 << 20}});
  return facts;
}

absl::Status FakeHypervisor::CheckInstalledQemu(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  return Enter("CheckInstalledQemu", ref).status();
}

absl::StatusOr<VmDescription> FakeHypervisor::Describe(const VmRef& ref,
                                                       absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Describe", ref));
  return VmDescription{
      .domain_xml = absl::StrCat("<domain>", vm->info.ref.name, "</domain>"),
      .qemu_uid = 64055,
      .qemu_gid = 64055,
      .qemu_version = "10.0.2"};
}

absl::Status FakeHypervisor::Pause(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Pause", ref));
  if (vm->info.state == VmState::kOff) {
    return absl::FailedPreconditionError("it is off");
  }
  vm->info.state = VmState::kPaused;
  return absl::OkStatus();
}

absl::StatusOr<SavedVm> FakeHypervisor::Save(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Save", ref));
  if (vm->info.state != VmState::kPaused || vm->save_pending) {
    return absl::FailedPreconditionError("not paused, or saved already");
  }
  vm->save_pending = true;
  ++vm->saves;
  SavedVm saved;
  saved.cpr_fds.push_back({.name = "pc.ram", .fd = Duplicate(vm->ram)});
  saved.cpr_fds.push_back(
      {.name = "pc.bios",
       .fd = MakeMemfd(absl::StrCat(kFirmware, ref.name), 8192)});
  saved.device_state = absl::StrCat(ref.name, " save ", vm->saves);
  return saved;
}

absl::StatusOr<VmProcess> FakeHypervisor::FindProcess(const VmRef& ref,
                                                      absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("FindProcess", ref));
  if (vm->info.state == VmState::kOff) {
    return absl::NotFoundError(absl::StrCat(ref.name, " is off"));
  }
  return vm->process;
}

absl::Status FakeHypervisor::EndProcess(const VmRef& ref,
                                        const VmProcess& process, absl::Time) {
  std::lock_guard lock(mutex_);
  const auto found = vms_.find(ref.name);
  if (found == vms_.end() || found->second.info.state == VmState::kOff ||
      !(found->second.process == process)) {
    return absl::OkStatus();
  }
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("EndProcess", ref));
  if (!vm->save_pending) {
    return absl::FailedPreconditionError("it ran on since it was saved");
  }
  End(*vm);
  return absl::OkStatus();
}

void FakeHypervisor::End(Vm& vm) {
  vm.info.state = VmState::kOff;
  vm.save_pending = false;
  vm.ram.Reset();
  if (remove_ram_on_end_) unlink(vm.ram_path.c_str());
}

void FakeHypervisor::Crash(const std::string& name) {
  std::lock_guard lock(mutex_);
  End(vms_.at(name));
}

absl::Status FakeHypervisor::Resume(const VmRef& ref, bool run, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Resume", ref));
  if (vm->info.state == VmState::kOff) {
    return absl::NotFoundError(absl::StrCat(ref.name, " is off"));
  }
  vm->save_pending = false;
  if (run) vm->info.state = VmState::kRunning;
  return absl::OkStatus();
}

absl::Status FakeHypervisor::Restore(const RestorableVm& restorable,
                                     absl::Time) {
  std::unique_lock lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Restore", restorable.ref));
  started_.push_back("Restore " + restorable.ref.name);
  if (vm->info.state != VmState::kOff) {
    return absl::AlreadyExistsError("it runs");
  }
  bool firmware = false;
  for (const CprFd& cpr : restorable.saved.cpr_fds) {
    if (cpr.name == "pc.ram") vm->ram = Duplicate(cpr.fd);
    if (cpr.name == "pc.bios") {
      char contents[64] = {};
      const std::string want = absl::StrCat(kFirmware, restorable.ref.name);
      firmware = pread(cpr.fd.get(), contents, want.size(), 0) ==
                     static_cast<ssize_t>(want.size()) &&
                 contents == want && SizeOf(cpr.fd) == 8192;
    }
  }
  if (!firmware) return absl::DataLossError("pc.bios is not what was saved");
  vm->loaded_state = restorable.saved.device_state;
  vm->process = {.pid = ++next_pid_, .started = 1};
  vm->info.state = VmState::kPaused;
  // Who is called may never come back, as one that is killed does not.
  lock.unlock();
  absl::Status ready = restorable.before_it_may_run
                           ? restorable.before_it_may_run()
                           : absl::OkStatus();
  lock.lock();
  if (ready.ok() && vm->info.state == VmState::kOff) {
    ready = absl::UnavailableError("its QEMU has ended");
  }
  // "LetRun": what comes of telling it to run.
  if (ready.ok() && restorable.was_running) {
    ready = Enter("LetRun", restorable.ref).status();
  }
  if (!ready.ok()) {
    End(*vm);
    return ready;
  }
  if (restorable.was_running) vm->info.state = VmState::kRunning;
  return absl::OkStatus();
}

absl::Status FakeHypervisor::Announce(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Announce", ref));
  ++vm->announced;
  return absl::OkStatus();
}

void FakeHypervisor::SetAgent(const std::string& name, absl::Time guest_time) {
  std::lock_guard lock(mutex_);
  vms_.at(name).guest_time = guest_time;
}

absl::StatusOr<FakeHypervisor::Vm*> FakeHypervisor::EnterAgent(
    const std::string& call, const VmRef& ref) {
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter(call, ref));
  if (!vm->guest_time.has_value()) {
    return absl::UnimplementedError("no guest agent is configured");
  }
  if (vm->info.state != VmState::kRunning) {
    return absl::DeadlineExceededError("a guest that stands still is silent");
  }
  return vm;
}

absl::StatusOr<absl::Time> FakeHypervisor::GuestTime(const VmRef& ref,
                                                     absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(const Vm* vm, EnterAgent("GuestTime", ref));
  return *vm->guest_time;
}

absl::Status FakeHypervisor::SetGuestTime(const VmRef& ref, absl::Time now,
                                          absl::Time deadline) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, EnterAgent("SetGuestTime", ref));
  vm->guest_time = now;
  if (absl::Now() + vm->guest_set_time_takes > deadline) {
    return absl::DeadlineExceededError("the guest agent did not respond");
  }
  return absl::OkStatus();
}

absl::Status FakeHypervisor::RunGuestHook(const VmRef& ref,
                                          const std::string& word, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, EnterAgent("RunGuestHook", ref));
  vm->guest_hooks.push_back(word);
  return absl::OkStatus();
}

absl::StatusOr<DefinitionChange> FakeHypervisor::EditDefinition(
    const VmRef& ref, const DefinitionEdit& edit, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("EditDefinition", ref));
  DefinitionChange change = {
      .before = vm->definition,
      .after = edit.memory_source.empty()
                   ? edit.original
                   : absl::StrCat("memory from ", edit.memory_source)};
  if (!edit.dry_run) vm->definition = change.after;
  return change;
}

absl::Status FakeHypervisor::Start(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Start", ref));
  if (vm->info.state != VmState::kOff) {
    return absl::FailedPreconditionError("it is not off");
  }
  started_.push_back("Start " + ref.name);
  if (vm->managed_image.empty()) {
    vm->ram = MakeMemfd("just booted");
    ++vm->boots;
    vm->info.state = VmState::kRunning;
    return absl::OkStatus();
  }
  vm->ram = MakeMemfd(std::exchange(vm->managed_image, ""));
  vm->info.state = vm->managed_state;
  return absl::OkStatus();
}

absl::Status FakeHypervisor::ManagedSave(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("ManagedSave", ref));
  if (vm->info.state == VmState::kOff || !vm->info.persistent) {
    return absl::FailedPreconditionError("off, or transient");
  }
  vm->managed_image = ContentsOf(vm->ram);
  vm->managed_state = vm->info.state;
  TurnOff(*vm);
  return absl::OkStatus();
}

absl::Status FakeHypervisor::SaveToFile(const VmRef& ref,
                                        const std::string& file, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("SaveToFile", ref));
  if (vm->info.state == VmState::kOff || std::filesystem::exists(file)) {
    return absl::FailedPreconditionError("off, or the file is there");
  }
  std::ofstream(file, std::ios::binary) << ContentsOf(vm->ram);
  TurnOff(*vm);
  return absl::OkStatus();
}

absl::Status FakeHypervisor::RestoreFromFile(const VmRef& ref,
                                             const std::string& file, bool run,
                                             absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("RestoreFromFile", ref));
  if (vm->info.state != VmState::kOff) {
    return absl::AlreadyExistsError("it runs");
  }
  std::ifstream copy(file, std::ios::binary);
  if (!copy) return absl::NotFoundError("no such file");
  started_.push_back("RestoreFromFile " + ref.name);
  vm->ram = MakeMemfd(std::string(std::istreambuf_iterator<char>(copy), {}));
  vm->info.state = run ? VmState::kRunning : VmState::kPaused;
  return absl::OkStatus();
}

absl::Status FakeHypervisor::StopSaving(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  return Enter("StopSaving", ref).status();
}

absl::Status FakeHypervisor::Shutdown(const VmRef& ref, absl::Time) {
  std::lock_guard lock(mutex_);
  LU_ASSIGN_OR_RETURN(Vm * vm, Enter("Shutdown", ref));
  if (vm->info.state != VmState::kRunning) {
    return absl::FailedPreconditionError("it does not run");
  }
  if (vm->ignores_shutdown) return absl::DeadlineExceededError("it is deaf");
  TurnOff(*vm);
  return absl::OkStatus();
}

}  // namespace live_update::testing
