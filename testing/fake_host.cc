#include "testing/fake_host.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "state_preserve/dax_memory.h"
#include "state_preserve/keeper_client.h"
#include "state_preserve/luo_memory.h"

namespace live_update::testing {
namespace {

std::string MakeFolder(FakeHost::Backend backend) {
  const char* tmp = std::getenv("TEST_TMPDIR");
  // Bazel's is too long a name for the keeper's socket.
  if (backend == FakeHost::Backend::kLuo) tmp = nullptr;
  // For tests that would measure this machine's disk.
  if (const char* memory = std::getenv("FAKE_HOST_FOLDER")) tmp = memory;
  std::string name =
      absl::StrCat(tmp == nullptr ? "/tmp" : tmp, "/fake-host-XXXXXX");
  if (mkdtemp(name.data()) == nullptr) std::abort();
  return name;
}

}  // namespace

FakeHost::FakeHost(Backend backend)
    : backend_(backend), dir_(MakeFolder(backend)) {
  for (const char* folder : {"/ram", "/run", "/state"}) {
    std::filesystem::create_directory(dir_ + folder);
  }
  hypervisor_ = std::make_unique<FakeHypervisor>(
      backend == Backend::kLuo ? "" : dir_ + "/ram");
  deps_.hypervisor = hypervisor_.get();
  deps_.kexec = &kexec_;
  deps_.clock = &clock_;
  deps_.paths = {.run_dir = dir_ + "/run",
                 .state_dir = dir_ + "/state",
                 .hooks_dir = dir_ + "/hooks",
                 .policy_file = dir_ + "/policy.textproto",
                 .autostarted_file = dir_ + "/run/libvirt/autostarted"};
  deps_.sync = [] {};
  deps_.host_facts = [this]() -> absl::StatusOr<HostFacts> {
    HostFacts facts;
    facts.kernel_release = absl::StrCat("6.1.0-", boots_);
    facts.boot_id = absl::StrCat("boot-", boots_);
    facts.machine_id = "0123456789abcdef0123456789abcdef";
    facts.command_line = "root=/dev/vda memmap=2G!4G";
    facts.preserved = PreservedMount{.directory = dir_ + "/ram",
                                     .free_bytes = uint64_t{1} << 30};
    return facts;
  };
  deps_.read_target = [](const loader::TargetRequest& request) {
    loader::TargetKernel target;
    target.kernel_path = request.kernel_path;
    target.kernel = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    target.initrd = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    target.command_line = request.running_command_line;
    return target;
  };
  deps_.evaluate = [](const PreflightInput&) {
    CheckReport report;
    report.set_go(true);
    return report;
  };
  deps_.entered = [this](Phase phase) -> absl::Status {
    if (die_on_ == phase) kill(getpid(), SIGKILL);
    if (auto action = actions_.extract(phase)) action.mapped()();
    if (fail_on_ == phase) return absl::InternalError("injected");
    return absl::OkStatus();
  };
  OpenMemory();
}

FakeHost::~FakeHost() {
  KillKeeper();
  std::filesystem::remove_all(dir_);
}

void FakeHost::KillKeeper() {
  const KeeperClient keeper(dir_ + "/run/keeper.sock");
  const absl::StatusOr<int> pid = keeper.Pid();
  if (!pid.ok()) return;
  kill(*pid, SIGKILL);
  // The kernel closes its descriptors before it is gone.
  while (keeper.Pid().ok()) absl::SleepFor(absl::Milliseconds(1));
}

void FakeHost::OpenMemory() {
  if (backend_ == Backend::kLuo) {
    auto memory = LuoMemory::Open({.run_dir = dir_ + "/run",
                                   .boot_id = absl::StrCat("boot-", boots_),
                                   .kernel = &luo_kernel_});
    if (!memory.ok()) std::abort();
    memory_ = *std::move(memory);
    deps_.memory = memory_.get();
    return;
  }
  auto memory = DaxMemory::Open({.mount = dir_ + "/ram",
                                 .requires_dax = false,
                                 .boot_id = absl::StrCat("boot-", boots_)});
  if (!memory.ok()) std::abort();
  memory_ = *std::move(memory);
  deps_.memory = memory_.get();
}

UpdateRequest FakeHost::Request() const {
  return {.kernel_path = "/boot/vmlinuz-next",
          .initrd_path = "/boot/initrd.img-next",
          .state_bytes_per_vm = 1 << 20};
}

void FakeHost::Kexec(double seconds) {
  ++boots_;
  clock_.Kexec(seconds);
  kexec_.Boot();
  hypervisor_->Kexec();
  luo_kernel_.Kexec();
  memory_ = nullptr;
  KillKeeper();
  std::filesystem::remove_all(dir_ + "/run");
  std::filesystem::create_directory(dir_ + "/run");
  OpenMemory();
}

void FakeHost::ResetLosingMemory() {
  memory_ = nullptr;  // Closes sessions, which the kernel then drops.
  std::filesystem::remove_all(dir_ + "/ram/host-update");
  Kexec(/*seconds=*/60);
}

void FakeHost::NextProcess() {
  memory_ = nullptr;
  OpenMemory();
}

std::vector<std::string> FakeHost::LeftInPreservedMemory() const {
  std::vector<std::string> left;
  for (const char* set :
       {"/ram/host-update/outgoing", "/ram/host-update/incoming"}) {
    if (!std::filesystem::exists(dir_ + set)) continue;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(dir_ + set)) {
      if (entry.is_regular_file()) left.push_back(entry.path());
    }
  }
  return left;
}

void FakeHost::FlipHandoverByte(size_t offset) {
  const std::string path = dir_ + "/ram/host-update/outgoing/handover";
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  char byte = 0;
  if (pread(fd.get(), &byte, 1, static_cast<off_t>(offset)) != 1) std::abort();
  byte = static_cast<char>(byte ^ 1);
  if (pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)) != 1) std::abort();
}

}  // namespace live_update::testing
