#include "host_update/early_root.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "host_update/driver_modules.h"
#include "host_update/preserved_mount.h"

namespace live_update {
namespace {

constexpr char kIdentityFile[] = "/etc/machine-id";

struct Flag {
  absl::string_view name;
  uint64_t value;
};
// mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS", as mountinfo has them.
constexpr Flag kFlags[] = {
    {"rw", 0},
    {"ro", MS_RDONLY},
    {"nosuid", MS_NOSUID},
    {"nodev", MS_NODEV},
    {"noexec", MS_NOEXEC},
    {"noatime", MS_NOATIME},
    {"nodiratime", MS_NODIRATIME},
    {"relatime", MS_RELATIME},
};

bool IsPlainWord(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f;
  });
}

// A block device in /sys, as early-init is told of it.
struct Device {
  std::string name;                  // "/dev/vda1"
  std::vector<std::string> modules;  // Outermost first.
};

absl::StatusOr<Device> FindDevice(const std::string& root, const Mount& mount) {
  std::error_code error;
  const auto folder = std::filesystem::canonical(
      absl::StrCat(root, "/sys/dev/block/", mount.major, ":", mount.minor),
      error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat(
        mount.mount_point, " is not on a block device: ", mount.file_system,
        " of ", mount.source));
  }
  Device device{.name = absl::StrCat("/dev/", folder.filename().string())};
  const std::string devices =
      std::filesystem::canonical(root + "/sys/devices", error).string();
  if (error || !absl::StartsWith(folder.string(), devices + "/") ||
      absl::StrContains(folder.string(), "/devices/virtual/") ||
      absl::StrContains(device.name, "!")) {
    return absl::FailedPreconditionError(
        absl::StrCat(mount.mount_point, " is on ", device.name,
                     ", which has no driver of its own"));
  }
  device.modules = DriverModules(root, folder);
  return device;
}

absl::StatusOr<EarlyMount> AsItIs(const Mount& mount, const Device& device) {
  EarlyMount step{.type = mount.file_system,
                  .device = device.name,
                  .directory = mount.mount_point};
  const auto not_by_words = [&mount](absl::string_view word) {
    return absl::FailedPreconditionError(absl::StrCat(
        mount.mount_point, " is mounted with ", word.substr(0, 64)));
  };
  if (mount.root != "/") return not_by_words(mount.root);
  for (const std::string& option : mount.mount_options) {
    const auto* flag =
        std::find_if(std::begin(kFlags), std::end(kFlags),
                     [&](const Flag& f) { return f.name == option; });
    if (flag == std::end(kFlags)) return not_by_words(option);
    step.flags |= flag->value;
  }
  std::vector<std::string> data;
  for (const std::string& option : mount.options) {
    if (option == "ro") step.flags |= MS_RDONLY;
    if (option != "rw" && option != "ro") data.push_back(option);
  }
  step.data = absl::StrJoin(data, ",");
  for (const std::string& word :
       {step.type, step.device, step.directory, "x" + step.data}) {
    if (!IsPlainWord(word)) return not_by_words(word);
  }
  return step;
}

absl::Status AddMount(const std::string& root, const Mount& mount,
                      EarlySteps& steps) {
  LU_ASSIGN_OR_RETURN(const Device device, FindDevice(root, mount));
  LU_ASSIGN_OR_RETURN(EarlyMount step, AsItIs(mount, device));
  std::vector<std::string> modules = device.modules;
  modules.push_back(mount.file_system);
  for (std::string& module : modules) {
    // Those that are built into this kernel may be in modules of the next.
    if (IsPlainWord(module) &&
        std::find(steps.modules.begin(), steps.modules.end(), module) ==
            steps.modules.end()) {
      steps.modules.push_back(std::move(module));
    }
  }
  steps.mounts.push_back(std::move(step));
  return absl::OkStatus();
}

// It will be the next kernel's first program.
absl::Status CheckProgram(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(kEarlyInitPath, " is not installed"));
  }
  if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() ||
      (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(kEarlyInitPath, " is not a file of root's alone"));
  }
  return absl::OkStatus();
}

absl::StatusOr<EarlyIdentity> ReadIdentity(const std::string& root) {
  struct stat info {};
  if (lstat((root + kIdentityFile).c_str(), &info) != 0) {
    return absl::ErrnoToStatus(errno, kIdentityFile);
  }
  return EarlyIdentity{.path = kIdentityFile,
                       .inode = info.st_ino,
                       .changed_s = info.st_ctim.tv_sec,
                       .changed_ns = info.st_ctim.tv_nsec};
}

}  // namespace

absl::StatusOr<EarlySteps> PlanEarlyRoot(
    const std::string& root, const std::string& preserved_directory) {
  LU_RETURN_IF_ERROR(CheckProgram(root + kEarlyInitPath));
  LU_ASSIGN_OR_RETURN(const std::vector<Mount> mounts, ReadMounts(root));
  const Mount* base = MountOf(mounts, "/");
  if (base == nullptr) return absl::NotFoundError("/ is not mounted");
  for (const char* path : {"/usr", "/etc"}) {
    if (MountOf(mounts, path) != base) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " is a file system of its own"));
    }
  }
  EarlySteps steps;
  LU_ASSIGN_OR_RETURN(steps.identity, ReadIdentity(root));
  LU_RETURN_IF_ERROR(AddMount(root, *base, steps));
  const Mount* preserved = MountOf(mounts, preserved_directory);
  if (preserved != base &&
      MountOf(mounts, std::filesystem::path(preserved->mount_point)
                          .parent_path()
                          .string()) == base) {
    LU_RETURN_IF_ERROR(AddMount(root, *preserved, steps));
  }
  return steps;
}

}  // namespace live_update
