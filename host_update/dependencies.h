// Everything the flows touch outside this process, and how long they wait.

#ifndef HOST_UPDATE_DEPENDENCIES_H_
#define HOST_UPDATE_DEPENDENCIES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "host_update/clock.h"
#include "host_update/host_facts.h"
#include "host_update/hypervisor.h"
#include "host_update/phase.h"
#include "host_update/preflight.h"
#include "host_update/watchdog_device.h"
#include "loader/crash_kexec.h"
#include "loader/kexec.h"
#include "loader/target_kernel.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_key.h"
#include "state_preserve/preserved_memory.h"
#include "state_preserve/ram_digest.h"

namespace live_update {

// How long each thing may take before it counts as failed.
struct TimeLimits {
  absl::Duration call = absl::Seconds(20);  // One question to the hypervisor.
  // What QEMU is: libvirtd may have to start each QEMU before it knows.
  absl::Duration versions = absl::Minutes(2);
  // Its first answer to the restorer, in a host that is still booting: to give
  // up sooner would bring no VM back sooner.
  absl::Duration first_answer = absl::Minutes(5);
  absl::Duration pause = absl::Seconds(20);
  absl::Duration save = absl::Seconds(60);
  absl::Duration sync = absl::Seconds(60);
  absl::Duration resume = absl::Seconds(30);
  absl::Duration restore = absl::Seconds(180);
  absl::Duration guest_agent = absl::Seconds(5);  // One question to it.
  absl::Duration guest_hook = absl::Seconds(2);
  // One hook of the host; hooks.h.
  absl::Duration notify_hook = absl::Seconds(60);
  absl::Duration pre_pause_hook = absl::Seconds(5);
  absl::Duration post_resume_hook = absl::Seconds(60);
  // All of one VM, RAM too, saved to a file or started from one.
  absl::Duration whole_vm = absl::Minutes(10);
};

// Where this program keeps its own files.
struct Paths {
  std::string run_dir = "/run/host-update";        // Lock, journal, sockets.
  std::string state_dir = "/var/lib/host-update";  // History, counter.
  std::string hooks_dir = "/etc/host-update/hooks.d";
  std::string policy_file = "/etc/host-update/policy.textproto";
  // libvirtd starts no VM by itself while this file exists.
  std::string autostarted_file = "/run/libvirt/qemu/autostarted";
  std::string sysctl_dir = "/proc/sys/kernel";
  std::string sysrq_trigger = "/proc/sysrq-trigger";
  std::string root;  // Before /boot; "" but in tests.
};

// What handovers are made with, and what is asked of them.
struct HandoverSettings {
  uint32_t version = kHandoverVersion;  // To write.
  // Null: they are written without a MAC, and none with one is accepted.
  std::shared_ptr<const HandoverKey> key;
  // In the old kernel, what to digest; in the new one, kNone: nothing is
  // compared, else whatever has a digest.
  RamCoverage verify_ram = RamCoverage::kSample;
};

struct Dependencies {
  Hypervisor* hypervisor = nullptr;
  PreservedMemory* memory = nullptr;
  loader::Kexec* kexec = nullptr;
  loader::CrashKexec* crash_kexec = nullptr;  // Null: no rescue can be armed.
  WatchdogDevice* watchdog = nullptr;         // Null: none can guard an update.
  Clock* clock = nullptr;
  std::function<absl::StatusOr<HostFacts>()> host_facts;
  std::function<loader::TargetKernel(const loader::TargetRequest&)> read_target;
  std::function<CheckReport(const PreflightInput&)> evaluate = Evaluate;
  // Writes all file systems out: sync(2).
  std::function<void()> sync;
  // Called before the pause with what `uname -rv` will print in the next
  // kernel. What keeps answers by kernel can make them valid for that one, so
  // that VMs don't wait there for new ones. It is only a matter of time: no
  // failure.
  std::function<void(const std::string& kernel)> expect_kernel =
      [](const std::string&) {};
  // Called on entering each phase. An error stops the update there: how signals
  // stop it, and how tests do.
  std::function<absl::Status(Phase)> entered = [](Phase) {
    return absl::OkStatus();
  };
  // Whether the update is to be stopped, for what takes long within a phase.
  std::function<bool()> stop_asked = [] { return false; };
  Paths paths;
  TimeLimits limits;
  HandoverSettings handover;
  size_t parallelism = 8;  // VMs at once.
};

}  // namespace live_update

#endif  // HOST_UPDATE_DEPENDENCIES_H_
