// Preflight of the kernel to go to: would it be loaded, and would it keep the
// VMs?

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "host_update/preflight_findings.h"
#include "loader/kernel_image.h"

namespace live_update {
namespace {

std::string BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path
                                                      : path.substr(slash + 1));
}

void CheckKernelFile(const TargetKernel& target, const HostFacts& host,
                     Findings& findings) {
  constexpr char kRemedy[] =
      "give the vmlinuz of an installed kernel: ls /boot/vmlinuz-*; if it is "
      "one, install its package again";
  if (!target.image.ok()) {
    findings.Error("TARGET_KERNEL", target.image.status().message(), kRemedy);
    return;
  }
  const absl::Status loadable =
      loader::CheckLoadable(*target.image, target.command_line.size());
  if (!loadable.ok()) {
    findings.Error("TARGET_KERNEL", loadable.message(), kRemedy);
    return;
  }
  if (absl::IsInvalidArgument(target.facts.status()) ||
      absl::IsResourceExhausted(target.facts.status())) {
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
                   "; running is ", host.kernel_release));
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

void CheckMemory(const TargetKernel& target, const HostFacts& host,
                 Findings& findings) {
  if (!target.image.ok() || !target.image->bzimage.has_value() ||
      !target.initrd_bytes.ok()) {
    return;
  }
  const uint64_t needed =
      target.image->bzimage->init_bytes + *target.initrd_bytes;
  const std::string message =
      absl::StrCat(Size(host.memory_available_bytes),
                   " available; kernel and initrd need ", Size(needed));
  if (host.memory_available_bytes >= needed) {
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

void CheckAbilities(const TargetKernel& target, const HostFacts& host,
                    Findings& findings) {
  if (!target.image.ok() || target.release().empty()) return;
  if (host.cpu_vendor == "GenuineIntel") {
    CheckNeeds("TARGET_KVM", {{"KVM_INTEL", "kvm_intel"}}, target, findings);
  } else {
    CheckNeeds("TARGET_KVM", {{"KVM_AMD", "kvm_amd"}}, target, findings);
  }
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

}  // namespace

void EvaluateTarget(const PreflightInput& input, CheckReport* report) {
  const TargetKernel& target = *input.target;
  Findings kernel(target.kernel_path, report);
  CheckKernelFile(target, input.host, kernel);
  Findings initrd(
      target.initrd_path.empty() ? target.kernel_path : target.initrd_path,
      report);
  CheckInitrdFile(target, initrd);
  CheckCommandLine(target, kernel);
  CheckAbilities(target, input.host, kernel);
  Findings host("host", report);
  CheckMemory(target, input.host, host);
}

}  // namespace live_update
