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
#include "state_preserve/dax_memory.h"

namespace live_update::testing {
namespace {

std::string MakeFolder() {
  const char* tmp = std::getenv("TEST_TMPDIR");
  std::string name =
      absl::StrCat(tmp == nullptr ? "/tmp" : tmp, "/fake-host-XXXXXX");
  if (mkdtemp(name.data()) == nullptr) std::abort();
  return name;
}

}  // namespace

FakeHost::FakeHost() : dir_(MakeFolder()) {
  for (const char* folder : {"/ram", "/run", "/state"}) {
    std::filesystem::create_directory(dir_ + folder);
  }
  hypervisor_ = std::make_unique<FakeHypervisor>(dir_ + "/ram");
  deps_.hypervisor = hypervisor_.get();
  deps_.kexec = &kexec_;
  deps_.clock = &clock_;
  deps_.paths = {.run_dir = dir_ + "/run",
                 .state_dir = dir_ + "/state",
                 .autostarted_file = dir_ + "/run/libvirt/autostarted"};
  deps_.sync = [] {};
  deps_.host_facts = [this]() -> absl::StatusOr<HostFacts> {
    HostFacts facts;
    facts.kernel_release = absl::StrCat("6.1.0-", boots_);
    facts.boot_id = absl::StrCat("boot-", boots_);
    facts.machine_id = "0123456789abcdef0123456789abcdef";
    facts.command_line = "root=/dev/vda memmap=2G!4G";
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

FakeHost::~FakeHost() { std::filesystem::remove_all(dir_); }

void FakeHost::OpenMemory() {
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
  std::filesystem::remove_all(dir_ + "/run");
  std::filesystem::create_directory(dir_ + "/run");
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
