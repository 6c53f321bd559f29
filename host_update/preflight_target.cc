// Preflight of the kernel to go to: would it be loaded, and would it keep the
// VMs?

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "host_update/direct_jump.h"
#include "host_update/preflight_findings.h"
#include "loader/command_line.h"
#include "loader/direct_kexec.h"
#include "loader/kernel_facts.h"
#include "loader/kernel_image.h"

namespace live_update {
namespace {

std::string BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path
                                                      : path.substr(slash + 1));
}

// Whether it is a kernel, but not for this host's kind of machine.
bool IsForeign(const TargetKernel& target) {
  return target.image.ok() ? target.image->architecture() != "x86-64"
                           : absl::IsFailedPrecondition(target.image.status());
}

// A vmlinux is only for the loader's own jump, and then only as one.
absl::Status CheckLoadable(const TargetKernel& target,
                           std::optional<loader::DirectEntry> direct_jump) {
  if (direct_jump == loader::DirectEntry::kVmlinux &&
      target.image->elf.has_value() && !IsForeign(target)) {
    return absl::OkStatus();
  }
  return loader::CheckLoadable(*target.image, target.command_line.size());
}

void CheckKernelFile(const TargetKernel& target, const PreflightInput& input,
                     Findings& findings) {
  constexpr char kRemedy[] =
      "give the vmlinuz of an installed kernel: ls /boot/vmlinuz-*; if it is "
      "one, install its package again";
  if (!target.image.ok()) {
    findings.Error(IsForeign(target) ? "TARGET_ARCH" : "TARGET_KERNEL",
                   target.image.status().message(), kRemedy);
    return;
  }
  const absl::Status loadable = CheckLoadable(target, input.direct_jump);
  if (!loadable.ok()) {
    findings.Error(IsForeign(target) ? "TARGET_ARCH" : "TARGET_KERNEL",
                   loadable.message(), kRemedy);
    return;
  }
  if (!target.facts.ok() && !absl::IsUnimplemented(target.facts.status())) {
    findings.Error("TARGET_KERNEL",
                   absl::StrCat("its header is right, its contents are not: ",
                                target.facts.status().message()),
                   kRemedy);
    return;
  }
  findings.Ok(
      "TARGET_KERNEL",
      absl::StrCat(target.image->format(), ", ", target.image->architecture(),
                   ", ", target.release(), ", ", Size(target.image->file_bytes),
                   "; running is ", input.host.kernel_release));
}

// An initrd has its own kernel's modules. Debian names both after the release.
bool IsOfAnotherRelease(const TargetKernel& target) {
  const std::string name = BaseName(target.initrd_path);
  absl::string_view release = name;
  return !target.release().empty() &&
         (absl::ConsumePrefix(&release, "initrd.img-") ||
          absl::ConsumePrefix(&release, "initrd-")) &&
         !absl::StrContains(name, target.release());
}

void CheckInitrdFile(const TargetKernel& target, Findings& findings) {
  const std::string remedy =
      absl::StrCat("update-initramfs -c -k ",
                   target.release().empty() ? "RELEASE" : target.release());
  if (target.initrd_path.empty()) {
    findings.Ok("TARGET_INITRD", "no initrd");
  } else if (!target.initrd_bytes.ok()) {
    findings.Error("TARGET_INITRD", target.initrd_bytes.status().message(),
                   remedy);
  } else if (IsOfAnotherRelease(target)) {
    findings.Warning("TARGET_INITRD",
                     absl::StrCat("by its name the initrd of another kernel "
                                  "than ",
                                  target.release(), ": its modules won't load"),
                     remedy);
  } else {
    findings.Ok("TARGET_INITRD", Size(*target.initrd_bytes));
  }
}

void CheckCommandLine(const TargetKernel& target, Findings& findings) {
  if (target.command_line_status.ok()) {
    findings.Ok("TARGET_CMDLINE", target.command_line);
    return;
  }
  findings.Error("TARGET_CMDLINE", target.command_line_status.message(),
                 "leave memmap= and mem= out of --append: the running "
                 "kernel's are repeated by themselves");
}

// Why the target would be a kernel that only writes a crash down. What can be
// seen of one: the words that kexec-tools and kdump-tools put on its command
// line; where it lies and how its initrd is named; that it runs at one place
// only, or on one CPU only. CONFIG_CRASH_DUMP alone says nothing: every
// distribution's kernel has it.
std::vector<std::string> CrashOnly(const TargetKernel& target,
                                   const HostFacts& host) {
  std::vector<std::string> reasons;
  const auto words =
      loader::CrashKernelWords(host.command_line, target.command_line);
  if (words.ok() && !words->empty()) {
    reasons.push_back(
        absl::StrCat("its command line has ", absl::StrJoin(*words, " ")));
  }
  for (const std::string& path : {target.kernel_path, target.initrd_path}) {
    if (absl::StrContains(path, "kdump")) {
      reasons.push_back(absl::StrCat(path, " is kdump's by its name"));
    }
  }
  if (target.image.ok() && target.image->bzimage.has_value() &&
      !target.image->bzimage->relocatable) {
    reasons.push_back(
        absl::StrFormat("it is not relocatable, made to run at %#x only",
                        target.image->bzimage->preferred_address));
  }
  if (target.config.ok() && target.config->IsSet("CRASH_DUMP") &&
      !target.config->IsSet("SMP")) {
    reasons.push_back("it has CONFIG_CRASH_DUMP and no CONFIG_SMP");
  }
  return reasons;
}

void CheckNotForCrashes(const TargetKernel& target, const HostFacts& host,
                        Findings& findings) {
  const std::vector<std::string> reasons = CrashOnly(target, host);
  if (reasons.empty()) return;
  findings.Error(
      "TARGET_CRASH_ONLY",
      absl::StrCat("a kernel for writing down a crash, not for running VMs: ",
                   absl::StrJoin(reasons, "; ")),
      "give the host's ordinary kernel and initrd (ls /boot), and leave such "
      "words out of --append; if the running kernel has them, boot it once "
      "without");
}

void CheckDirectJump(const PreflightInput& input, Findings& findings) {
  if (!input.direct_jump.has_value()) return;
  constexpr absl::string_view kCode = "DIRECT_JUMP";
  constexpr char kRemedy[] =
      "--direct-jump=off, or direct_jump: OFF in the policy file";
  const absl::Status allowed =
      loader::CheckDirectAllowed(input.host.kexec_policy);
  if (input.backend == Backend::kLuo) {
    findings.Error(kCode,
                   "kexec_load takes nothing along of what the kernel's Live "
                   "Update Orchestrator preserves: the VMs would be lost",
                   kRemedy);
  } else if (!allowed.ok()) {
    findings.Error(kCode, allowed.message(), kRemedy);
  } else {
    findings.Warning(kCode, GivenUpBy(*input.direct_jump), kRemedy);
  }
}

void CheckMemory(const TargetKernel& target, const PreflightInput& input,
                 Findings& findings) {
  if (!target.image.ok() || !target.image->bzimage.has_value() ||
      !target.initrd_bytes.ok()) {
    return;
  }
  // With LUO the VMs' state lies in memfds, which ordinary memory is taken for.
  const bool state = input.backend == Backend::kLuo;
  const uint64_t needed = target.image->bzimage->init_bytes +
                          *target.initrd_bytes +
                          (state ? input.state_area_bytes : 0);
  const std::string message = absl::StrCat(
      Size(input.host.memory_available_bytes), " available; kernel",
      state ? ", initrd and the VMs' state need " : " and initrd need ",
      Size(needed));
  if (input.host.memory_available_bytes >= needed) {
    findings.Ok("HOST_MEMORY", message);
  } else {
    findings.Error("HOST_MEMORY", message,
                   "free memory on the host, or make the initrd smaller "
                   "(MODULES=dep in /etc/initramfs-tools/initramfs.conf)");
  }
}

// One thing that the target must be able to do: an option of its
// configuration, and the module if it is one.
struct Need {
  absl::string_view option;  // Without CONFIG_.
  absl::string_view module;  // Empty: can't be a module.
};

enum class Answer { kYes, kNo, kUnknown };

Answer Provides(const TargetKernel& target, const Need& need) {
  if (target.config.ok() && !target.config->IsSet(need.option)) {
    return Answer::kNo;
  }
  if (target.config.ok() && target.config->IsBuiltIn(need.option)) {
    return Answer::kYes;
  }
  if (need.module.empty() || !target.modules.ok()) {
    // A module by its configuration, but no modules folder to find it in.
    return target.config.ok() ? Answer::kNo : Answer::kUnknown;
  }
  return target.modules->Has(need.module) ? Answer::kYes : Answer::kNo;
}

void CheckNeeds(absl::string_view code, absl::Span<const Need> needs,
                const TargetKernel& target, Findings& findings) {
  const std::string release = target.release();
  std::string present;
  std::string missing;
  bool unknown = false;
  for (const Need& need : needs) {
    const std::string option = absl::StrCat("CONFIG_", need.option);
    switch (Provides(target, need)) {
      case Answer::kYes:
        absl::StrAppend(&present, present.empty() ? "" : ", ", option);
        break;
      case Answer::kNo:
        absl::StrAppend(&missing, missing.empty() ? "" : ", ", option);
        break;
      case Answer::kUnknown:
        unknown = true;
        break;
    }
  }
  if (!missing.empty()) {
    findings.Error(
        code,
        absl::StrCat(
            "the target kernel lacks ", missing,
            target.modules.ok()
                ? ""
                : absl::StrCat("; no modules are installed for ", release)),
        absl::StrCat("apt install linux-image-", release,
                     ", or choose a kernel that has it"));
  } else if (unknown) {
    findings.Warning(
        code,
        absl::StrCat("what the target kernel can do is not known: ",
                     target.config.status().message()),
        absl::StrCat("put its configuration at /boot/config-", release));
  } else {
    findings.Ok(code, present);
  }
}

void CheckKvm(const TargetKernel& target, const HostFacts& host,
              Findings& findings) {
  if (host.cpu_vendor == "GenuineIntel") {
    CheckNeeds("TARGET_KVM", {{"KVM_INTEL", "kvm_intel"}}, target, findings);
  } else {
    CheckNeeds("TARGET_KVM", {{"KVM_AMD", "kvm_amd"}}, target, findings);
  }
}

// What KVM offers to guests only if the host's kernel is built for it. A guest
// that has turned it on can't be restored without: KVM refuses its registers.
constexpr struct {
  absl::string_view flag;  // In /proc/cpuinfo, where the kernel uses it.
  absl::string_view option;
} kGuestFeatures[] = {{"ospke", "X86_INTEL_MEMORY_PROTECTION_KEYS"},
                      {"umip", "X86_UMIP"},
                      {"user_shstk", "X86_USER_SHADOW_STACK"}};

void CheckCpu(const TargetKernel& target, const HostFacts& host,
              Findings& findings) {
  if (!target.config.ok()) return;  // TARGET_KVM says so.
  std::vector<std::string> missing;
  for (const auto& [flag, option] : kGuestFeatures) {
    if (host.cpu_flags.count(std::string(flag)) == 0) continue;
    if (target.config->IsSet(option)) continue;
    missing.push_back(absl::StrCat("CONFIG_", option, " (", flag, ")"));
  }
  if (missing.empty()) return;
  findings.Error(
      "TARGET_CPU",
      absl::StrCat("the target kernel lacks what the running one lets guests "
                   "use of the CPU: ",
                   absl::StrJoin(missing, ", ")),
      "choose a kernel that has it; --override=TARGET_CPU if no VM has these "
      "features");
}

void CheckDax(const TargetKernel& target, const HostFacts& host,
              Findings& findings) {
  std::vector<Need> needs = {{"X86_PMEM_LEGACY", "nd_e820"},
                             {"BLK_DEV_PMEM", "nd_pmem"},
                             {"FS_DAX", ""}};
  if (host.preserved.ok() && host.preserved->mount.file_system == "ext4") {
    needs.push_back({"EXT4_FS", "ext4"});
  } else if (host.preserved.ok() &&
             host.preserved->mount.file_system == "xfs") {
    needs.push_back({"XFS_FS", "xfs"});
  }
  CheckNeeds("TARGET_DAX", needs, target, findings);
}

std::string Join(const std::set<std::string>& words) {
  return words.empty() ? "none" : absl::StrJoin(words, ", ");
}

constexpr char kOtherKernel[] =
    "choose a kernel that has it (of 6.19 or later, with "
    "CONFIG_KEXEC_HANDOVER=y and CONFIG_LIVEUPDATE=y); Debian's have not: "
    "build one, or carry the VMs by --backend dax";

// What LUO needs is built in or not there. Where no configuration tells, its
// ABI strings do: they are part of its code.
void CheckLuo(const TargetKernel& target, Findings& findings) {
  if (target.config.ok()) {
    for (const absl::string_view option : {"KEXEC_HANDOVER", "LIVEUPDATE"}) {
      if (target.config->IsBuiltIn(option)) continue;
      findings.Error("TARGET_LUO",
                     absl::StrCat("the target kernel lacks CONFIG_", option),
                     kOtherKernel);
      return;
    }
    findings.Ok("TARGET_LUO", "CONFIG_KEXEC_HANDOVER, CONFIG_LIVEUPDATE");
    return;
  }
  const std::string unknown =
      absl::StrCat("no configuration (", target.config.status().message(), ")");
  if (target.facts.ok() &&
      loader::MissingAbi(target.facts->abi_strings).empty()) {
    findings.Ok("TARGET_LUO", absl::StrCat(unknown, ", but its image has ",
                                           Join(target.facts->abi_strings)));
    return;
  }
  findings.Error(
      "TARGET_LUO",
      absl::StrCat(unknown, ", and its image has not the strings of LUO"),
      kOtherKernel);
}

// Linux compares these for equality: with another kho the next kernel gives
// the guests' RAM to its page allocator, with another luo or memfd it keeps it
// and lets nobody have it.
void CheckLuoAbi(const TargetKernel& target, const HostFacts& host,
                 Findings& findings) {
  constexpr absl::string_view kCode = "TARGET_LUO_ABI";
  if (!target.facts.ok()) {
    findings.Error(kCode,
                   absl::StrCat("its live-update ABI strings can't be read: ",
                                target.facts.status().message()),
                   "give a kernel packed by gzip, xz, zstd or lz4");
    return;
  }
  if (!host.running_kernel.ok()) {
    findings.Error(
        kCode,
        absl::StrCat("not comparable: ",
                     host.running_kernel.status().message()),
        absl::StrCat("install the running kernel's package again, so that "
                     "/boot/vmlinuz-",
                     host.kernel_release,
                     " is the running kernel, or run where /proc/kcore can be "
                     "read"));
    return;
  }
  const std::set<std::string>& next = target.facts->abi_strings;
  const std::set<std::string>& now = host.running_kernel->facts.abi_strings;
  const std::string how = absl::StrCat(" (", host.running_kernel->how, ")");
  for (const auto* strings : {&now, &next}) {
    const absl::string_view missing = loader::MissingAbi(*strings);
    if (missing.empty()) continue;
    findings.Error(kCode,
                   absl::StrCat("no ", missing, "-v… string in the ",
                                strings == &now ? "running" : "target",
                                " kernel, which has ", Join(*strings),
                                strings == &now ? how : ""),
                   kOtherKernel);
    return;
  }
  if (now != next) {
    findings.Error(
        kCode,
        absl::StrCat("the target speaks ", Join(next), "; the running kernel ",
                     Join(now), how),
        "choose a kernel with the same strings; to get to this one, carry the "
        "VMs by --backend dax or move them away and boot it");
    return;
  }
  findings.Ok(kCode, absl::StrCat(Join(now), " in both; the running kernel's ",
                                  host.running_kernel->how));
}

void CheckLuoCommandLine(const TargetKernel& target, Findings& findings) {
  const bool kho_default =
      target.config.ok() &&
      target.config->IsBuiltIn("KEXEC_HANDOVER_ENABLE_DEFAULT");
  const absl::Status status =
      loader::CheckTakesOver(target.command_line, kho_default);
  if (status.ok()) {
    findings.Ok("TARGET_LUO_CMDLINE", "kho and liveupdate are on");
    return;
  }
  findings.Error("TARGET_LUO_CMDLINE", status.message(),
                 "leave kho= and liveupdate= out of --append where the running "
                 "kernel has them on; else --append='kho=on liveupdate=on'");
}

void CheckBackend(const TargetKernel& target, const PreflightInput& input,
                  Findings& findings) {
  const bool readable = target.image.ok() && !target.release().empty();
  switch (input.backend) {
    case Backend::kDax:
      if (readable) CheckDax(target, input.host, findings);
      return;
    case Backend::kLuo:
      if (readable) {
        CheckLuo(target, findings);
        CheckLuoAbi(target, input.host, findings);
      }
      CheckLuoCommandLine(target, findings);
      return;
    case Backend::kDirectory:
      findings.Error("TARGET_BACKEND",
                     "a plain directory keeps no memory over a kexec",
                     "--backend dax or --backend luo");
      return;
  }
}

}  // namespace

void EvaluateTarget(const PreflightInput& input, CheckReport* report) {
  const TargetKernel& target = *input.target;
  Findings kernel(target.kernel_path, report);
  CheckKernelFile(target, input, kernel);
  Findings initrd(
      target.initrd_path.empty() ? target.kernel_path : target.initrd_path,
      report);
  CheckInitrdFile(target, initrd);
  CheckCommandLine(target, kernel);
  CheckNotForCrashes(target, input.host, kernel);
  CheckDirectJump(input, kernel);
  if (target.image.ok() && !target.release().empty()) {
    CheckKvm(target, input.host, kernel);
    CheckCpu(target, input.host, kernel);
  }
  CheckBackend(target, input, kernel);
  Findings host("host", report);
  CheckMemory(target, input, host);
}

}  // namespace live_update
