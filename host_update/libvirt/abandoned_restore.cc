// What a restorer that was killed leaves: a QEMU that waits for memory which
// nobody will send, and a libvirt that waits for that QEMU.

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/pidfd.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/libvirt/qemu_process.h"
#include "host_update/qemu/unix_socket.h"

namespace live_update {
namespace {

// libvirt may have been asked a moment ago and start its QEMU only now.
constexpr absl::Duration kLateStart = absl::Seconds(10);
constexpr absl::Duration kLongestEnd = absl::Seconds(60);
constexpr absl::Duration kPollInterval = absl::Milliseconds(250);
constexpr absl::Duration kQuestion = absl::Seconds(5);

// Kills the VM's QEMU if it is the one that listens at `socket`: one that has
// its memory listens no more. Returns whether it was.
absl::StatusOr<bool> KillWaitingQemu(const VmRef& vm, const std::string& socket,
                                     const std::string& pid_directory) {
  const absl::StatusOr<UniqueFd> connected = ConnectUnix(socket);
  if (!connected.ok()) return false;
  pid_t listener = -1;
  LU_RETURN_IF_ERROR(CheckPeer(connected->get(), [&](pid_t pid, uid_t) {
    listener = pid;
    return absl::OkStatus();
  }));
  const absl::StatusOr<UniqueFd> process = OpenPidfd(listener);
  // Looked up with the process held, so that it is no other by now.
  const absl::StatusOr<QemuProcess> qemu = FindQemuProcess(vm, pid_directory);
  if (!process.ok() || !qemu.ok() || qemu->pid != listener) return false;
  LogWarning(absl::StrCat(vm.name, ": process ", listener,
                          ", the QEMU of an attempt that was cut off, waits "
                          "for memory that nobody will send: it is killed"));
  return SendSignal(*process, SIGKILL).ok();
}

}  // namespace

// Waits until libvirt has seen that QEMU end, or some time has passed.
void LibvirtHypervisor::EndAbandonedRestore(const VmRef& vm,
                                            absl::Time deadline) {
  const std::filesystem::path directory =
      absl::StrCat(options_.runtime_directory, "/", vm.uuid, "/qemu");
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) return;  // As it should be.
  const std::string socket = directory / "cpr";
  const absl::Time late = std::min(deadline, absl::Now() + kLateStart);
  bool killed = false;
  while (!killed && absl::Now() < late) {
    const absl::StatusOr<bool> was_waiting =
        KillWaitingQemu(vm, socket, options_.pid_directory);
    killed = was_waiting.ok() && *was_waiting;
    if (!killed) absl::SleepFor(kPollInterval);
  }
  if (!killed) return;
  const absl::Time end = std::min(deadline, absl::Now() + kLongestEnd);
  while (absl::Now() < end) {
    const absl::StatusOr<VmInfo> info = Info(vm, absl::Now() + kQuestion);
    if (absl::IsNotFound(info.status())) return;
    if (info.ok() && info->state == VmState::kOff) return;
    absl::SleepFor(kPollInterval);
  }
}

}  // namespace live_update
