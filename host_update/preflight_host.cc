// Preflight of the host: what every update needs of it, whatever the target.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "host_update/preflight_findings.h"
#include "loader/command_line.h"
#include "loader/memmap.h"
#include "loader/memory_map.h"

namespace live_update {
namespace {

void CheckRights(const HostFacts& host, Findings& findings) {
  if (host.is_root && host.has_cap_sys_boot) {
    findings.Ok("HOST_ROOT", "root, with CAP_SYS_BOOT");
    return;
  }
  findings.Error("HOST_ROOT",
                 host.is_root ? "root, but without CAP_SYS_BOOT: in a "
                                "container or a confined unit"
                              : "not root",
                 "run it as root on the host itself: sudo host-update check");
}

void CheckInterrupted(bool interrupted, Findings& findings) {
  if (!interrupted) {
    findings.Ok("UPDATE_INTERRUPTED", "no earlier update is unfinished");
    return;
  }
  findings.Error("UPDATE_INTERRUPTED",
                 "an earlier update was cut off; VMs may still be paused",
                 "host-update abort");
}

void CheckUnrestored(const PreflightInput& input, Findings& findings) {
  constexpr absl::string_view kRemedy =
      "host-update restore --retry VM, or --discard VM, for each";
  if (!input.unrestored_vms.ok()) {
    findings.Error("UNRESTORED_VMS",
                   absl::StrCat("whether VMs of an earlier update wait to be "
                                "restored can't be found out: ",
                                input.unrestored_vms.status().message()),
                   "host-update status");
    return;
  }
  if (input.unrestored_vms->empty()) {
    findings.Ok("UNRESTORED_VMS", "no VM waits to be restored");
    return;
  }
  const std::string waiting =
      absl::StrCat("of an earlier update these VMs wait to be restored: ",
                   absl::StrJoin(*input.unrestored_vms, ", "));
  if (input.backend == Backend::kLuo) {
    findings.Error(
        "UNRESTORED_VMS",
        absl::StrCat(waiting, "; the kernel carries nothing of them further"),
        std::string(kRemedy));
  } else {
    findings.Warning("UNRESTORED_VMS", absl::StrCat(waiting, "; they wait on"),
                     std::string(kRemedy));
  }
}

void CheckVersions(const absl::StatusOr<HypervisorVersions>& versions,
                   Findings& findings) {
  if (!versions.ok()) {
    findings.Error(
        "LIBVIRT_VERSION",
        absl::StrCat("libvirt can't be reached: ", versions.status().message()),
        "systemctl status libvirtd virtqemud.socket");
    return;
  }
  if (IsAtLeast(versions->libvirt, kOldestLibvirt[0], kOldestLibvirt[1])) {
    findings.Ok("LIBVIRT_VERSION", absl::StrCat("libvirt ", versions->libvirt));
  } else {
    findings.Error(
        "LIBVIRT_VERSION",
        absl::StrCat("libvirt ", versions->libvirt, "; 11.3 is needed"),
        "apt install -t bookworm-backports libvirt-daemon-system");
  }
  if (!IsAtLeast(versions->qemu, kOldestQemu[0], kOldestQemu[1])) {
    findings.Error("QEMU_VERSION",
                   absl::StrCat("QEMU ", versions->qemu,
                                "; 10.0 is needed (cpr-transfer)"),
                   "apt install -t bookworm-backports qemu-system-x86");
  } else {
    findings.Ok("QEMU_VERSION", absl::StrCat("QEMU ", versions->qemu));
  }
}

void CheckReservation(const HostFacts& host, const PreservedMount& mount,
                      Findings& findings) {
  constexpr char kRemedy[] =
      "put memmap=SIZE!START on the kernel command line (GRUB_CMDLINE_LINUX in "
      "/etc/default/grub, update-grub), reboot once, then mkfs.ext4 -b 4096 "
      "/dev/pmem0";
  const auto memmap = loader::MemmapRegions(host.command_line);
  for (const absl::Status& status :
       {mount.range.status(), host.memory_map.status(), memmap.status()}) {
    if (!status.ok()) {
      findings.Error("DAX_RANGE", status.message(), kRemedy);
      return;
    }
  }
  const auto reservation =
      loader::FindReservation(*mount.range, *memmap, *host.memory_map);
  if (!reservation.ok()) {
    findings.Error("DAX_RANGE", reservation.status().message(), kRemedy);
    return;
  }
  const std::string place =
      absl::StrCat(mount.mount.source, " at ", mount.range->ToString());
  if (reservation->by == loader::PmemReservation::By::kFirmware) {
    findings.Ok("DAX_RANGE", absl::StrCat(place, ", kept by the firmware"));
    return;
  }
  findings.Ok("DAX_RANGE",
              absl::StrCat(place, reservation->exact ? " is" : " lies in",
                           " memmap=", reservation->memmap));
}

void CheckPreservedMemory(const PreflightInput& input, Findings& findings) {
  const absl::StatusOr<PreservedMount>& mount = input.host.preserved;
  if (!mount.ok()) {
    findings.Error("DAX_MOUNTED",
                   absl::StrCat("no directory for preserved memory: ",
                                mount.status().message()),
                   "mount -o dax /dev/pmem0 on it, also in /etc/fstab");
    return;
  }
  const std::string where =
      absl::StrCat(mount->directory, ": ", mount->mount.file_system, " on ",
                   mount->mount.source);
  if (mount->dax == PreservedMount::Dax::kNever) {
    findings.Error("DAX_MOUNTED",
                   absl::StrCat(where,
                                ", mounted without dax: files there lie in the "
                                "page cache and are lost"),
                   absl::StrCat("mount -o dax /dev/pmem0 ", mount->directory,
                                " (and dax in its options in /etc/fstab)"));
    return;
  }
  findings.Ok("DAX_MOUNTED",
              absl::StrCat(where, mount->dax == PreservedMount::Dax::kAlways
                                      ? ", dax"
                                      : ", dax for files that ask for it"));
  CheckReservation(input.host, *mount, findings);

  const std::string space = absl::StrCat(
      Size(mount->free_bytes), " of ", Size(mount->total_bytes),
      " free; the VMs' state needs ", Size(input.state_area_bytes));
  if (mount->free_bytes >= input.state_area_bytes) {
    findings.Ok("DAX_SPACE", space);
  } else {
    findings.Error("DAX_SPACE", space,
                   absl::StrCat("du -ah ", mount->mount.mount_point,
                                " and remove what is not a VM's, or shut one "
                                "VM down"));
  }
}

void CheckLuo(const HostFacts& host, Findings& findings) {
  constexpr char kRemedy[] =
      "put kho=on liveupdate=on on the kernel command line (GRUB_CMDLINE_LINUX "
      "in /etc/default/grub, update-grub) and reboot the host once";
  // Without KHO there is no device: what starts it then is no word.
  const absl::Status enabled =
      loader::CheckTakesOver(host.command_line, host.luo.device);
  if (!host.luo.device) {
    findings.Error(
        "LUO_DEVICE", "there is no /dev/liveupdate",
        enabled.ok()
            ? "boot a kernel with CONFIG_LIVEUPDATE=y; if this is one: "
              "dmesg | grep -iE 'kho|luo|live ?update'"
            : kRemedy);
  } else if (!host.luo.holder.empty()) {
    findings.Error(
        "LUO_DEVICE",
        absl::StrCat("/dev/liveupdate is in use by ", host.luo.holder,
                     ", and takes one program at a time"),
        "end that program, or have it close the device");
  } else {
    findings.Ok("LUO_DEVICE", "/dev/liveupdate is there and free");
  }
  if (enabled.ok()) {
    findings.Ok("LUO_ENABLED", "kho and liveupdate are on");
  } else {
    findings.Error("LUO_ENABLED", enabled.message(), kRemedy);
  }
  if (host.luo.shmem_huge == "never" || host.luo.shmem_huge == "deny") {
    findings.Warning(
        "SHMEM_THP",
        absl::StrCat("memfds get no huge pages (shmem_enabled is ",
                     host.luo.shmem_huge,
                     "): the next kernel takes each 4 KiB over on its own, "
                     "over 2 s of blackout for 48 GiB"),
        "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled, also "
        "at boot; VMs have them from their next start on");
  } else {
    findings.Ok("SHMEM_THP", absl::StrCat("huge pages for memfds: ",
                                          host.luo.shmem_huge.empty()
                                              ? "not known"
                                              : host.luo.shmem_huge));
  }
}

void CheckKexec(const HostFacts& host, Findings& findings) {
  const loader::KexecPolicy& policy = host.kexec_policy;
  if (!host.kernel_staged.ok()) {
    findings.Error("KEXEC_ALLOWED", host.kernel_staged.status().message(),
                   "boot a kernel with CONFIG_KEXEC_FILE=y");
    return;
  }
  if (policy.load_disabled == "1" || policy.load_limit == "0") {
    const char* which = policy.load_disabled == "1"
                            ? "kernel.kexec_load_disabled"
                            : "kernel.kexec_load_limit_reboot";
    findings.Error("KEXEC_ALLOWED",
                   absl::StrCat(which,
                                " forbids loading a kernel until the "
                                "next cold boot"),
                   absl::StrCat("grep -r ", which,
                                " /etc/sysctl.conf /etc/sysctl.d /usr/lib/"
                                "sysctl.d, take it out, reboot the host once"));
  } else if (!policy.lockdown.empty() && policy.lockdown != "none") {
    findings.Warning(
        "KEXEC_ALLOWED",
        absl::StrCat("locked down (", policy.lockdown,
                     "): only a kernel with a trusted signature can be loaded"),
        "take the signed package: apt install linux-image-amd64 (not "
        "-unsigned)");
  } else {
    findings.Ok("KEXEC_ALLOWED",
                host.secure_boot.value_or(false)
                    ? "kexec_file_load is allowed (secure boot, no lockdown)"
                    : "kexec_file_load is allowed");
  }
  if (!*host.kernel_staged) {
    findings.Ok("KERNEL_STAGED", "no kernel is staged");
  } else {
    findings.Warning("KERNEL_STAGED",
                     "a kernel is staged already, by another program; the "
                     "update replaces it, and a reboot now would jump into it",
                     "kexec -u");
  }
}

// Most drivers stop theirs for a reboot, and so for a kexec; hpwdt does not
// (drivers/watchdog/*.c, watchdog_stop_on_reboot).
void CheckWatchdogs(const HostFacts& host, Findings& findings) {
  if (host.watchdogs.empty()) {
    findings.Ok("WATCHDOG", "no hardware watchdog counts");
    return;
  }
  std::vector<std::string> counting;
  for (const HostWatchdog& watchdog : host.watchdogs) {
    counting.push_back(absl::StrCat(watchdog.name, " (", watchdog.identity,
                                    ", ", watchdog.timeout_s, " s)"));
  }
  findings.Warning(
      "WATCHDOG",
      absl::StrCat(absl::StrJoin(counting, ", "),
                   " may go on counting over the jump: it then resets the "
                   "host, with the VMs' memory, if the new kernel does not "
                   "feed it in time"),
      "have its driver in the initramfs, which feeds it until somebody opens "
      "it; or stop it for the update: RuntimeWatchdogSec=0 in "
      "/etc/systemd/system.conf, then systemctl daemon-reexec");
}

void CheckClock(const HostFacts& host, Findings& findings) {
  // One that runs on whatever the processor's speed and sleep.
  const bool constant = host.cpu_flags.count("constant_tsc") != 0;
  const bool nonstop = host.cpu_flags.count("nonstop_tsc") != 0;
  if (host.clocksource == "tsc" && constant && nonstop) {
    findings.Ok("CLOCK_TSC", "the TSC keeps the time over the jump");
    return;
  }
  findings.Warning(
      "CLOCK_TSC",
      absl::StrCat("clock source ",
                   host.clocksource.empty() ? "unknown" : host.clocksource,
                   constant ? "" : ", no constant_tsc",
                   nonstop ? "" : ", no nonstop_tsc",
                   ": the TSC times the jump only if it agrees with the wall "
                   "clock to 3 s; else that does, to within what it is off"),
      "nothing is needed for the VMs; for exact figures see "
      "/sys/devices/system/clocksource/clocksource0/available_clocksource");
}

void CheckHooks(absl::Span<const std::string> refused, Findings& findings) {
  if (refused.empty()) {
    findings.Ok("HOOKS", "no hook is refused");
    return;
  }
  findings.Error("HOOKS",
                 absl::StrCat("hooks that have to run must not: ",
                              absl::StrJoin(refused, "; ")),
                 "mend each, or switch it off: chmod -x");
}

}  // namespace

void EvaluateHost(const PreflightInput& input, CheckReport* report) {
  Findings findings("host", report);
  CheckRights(input.host, findings);
  CheckInterrupted(input.update_interrupted, findings);
  CheckUnrestored(input, findings);
  CheckVersions(input.versions, findings);
  switch (input.backend) {
    case Backend::kDax:
      CheckPreservedMemory(input, findings);
      break;
    case Backend::kLuo:
      CheckLuo(input.host, findings);
      break;
    case Backend::kDirectory:
      break;  // It asks nothing of the host.
  }
  CheckKexec(input.host, findings);
  CheckClock(input.host, findings);
  CheckWatchdogs(input.host, findings);
  CheckHooks(input.refused_hooks, findings);
}

}  // namespace live_update
