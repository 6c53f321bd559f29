#include "host_update/host_facts.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/directory.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/early_root.h"

namespace live_update {
namespace {

constexpr uint64_t kMaxSmall = 64 << 10;
constexpr uint64_t kMaxIomem = uint64_t{4} << 20;
constexpr size_t kFirstCpu = 8 << 10;  // Of /proc/cpuinfo: one CPU and more.
constexpr size_t kMaxInterfaces = 65536;
constexpr size_t kMaxOpenFiles = 1 << 20;  // Of all processes, looked at.
constexpr char kLuoDevice[] = "/dev/liveupdate";
constexpr char kEarlyRestoreUnit[] =
    "/lib/systemd/system/host-update-early.target";

// A file that every host has, without the white space at its end.
absl::StatusOr<std::string> ReadLine(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxSmall));
  return std::string(absl::StripTrailingAsciiWhitespace(text));
}

// The value of `key` in lines of the form "key: value" or "key\t: value"; the
// first, if there are several. "" if there is none.
std::string Field(absl::string_view text, absl::string_view key) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    rest = absl::StripLeadingAsciiWhitespace(rest);
    if (!absl::ConsumePrefix(&rest, ":")) continue;
    return std::string(absl::StripAsciiWhitespace(rest));
  }
  return "";
}

// Real, effective, saved and file system user: the second counts.
bool IsRoot(absl::string_view process_status) {
  const std::vector<std::string> ids = absl::StrSplit(
      Field(process_status, "Uid"), absl::ByAnyChar(" \t"), absl::SkipEmpty());
  return ids.size() >= 2 && ids[1] == "0";
}

bool HasCapability(absl::string_view process_status, int capability) {
  uint64_t effective = 0;
  return absl::SimpleHexAtoi(Field(process_status, "CapEff"), &effective) &&
         ((effective >> capability) & 1) != 0;
}

uint64_t MemoryAvailable(absl::string_view meminfo) {
  uint64_t kibibytes = 0;
  const std::string value = Field(meminfo, "MemAvailable");
  const absl::string_view number = absl::StripSuffix(value, " kB");
  return absl::SimpleAtoi(number, &kibibytes) ? kibibytes * 1024 : 0;
}

// The first CPU stands for all. The rest is not read: the kernel makes it up
// CPU by CPU, which takes its time on a large host.
void ReadCpu(const std::string& root, HostFacts* facts) {
  const UniqueFd fd(
      open((root + "/proc/cpuinfo").c_str(), O_RDONLY | O_CLOEXEC));
  std::string cpuinfo(kFirstCpu, '\0');
  const ssize_t count = read(fd.get(), cpuinfo.data(), cpuinfo.size());
  cpuinfo.resize(count > 0 ? static_cast<size_t>(count) : 0);
  facts->cpu_vendor = Field(cpuinfo, "vendor_id");
  facts->cpu_flags = absl::StrSplit(Field(cpuinfo, "flags"), ' ');
}

// An EFI variable: four bytes of attributes, then its value.
std::optional<bool> ReadSecureBoot(const std::string& root) {
  const auto variable =
      ReadFile(root +
                   "/sys/firmware/efi/efivars/"
                   "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
               kMaxSmall);
  if (!variable.ok() || variable->size() != 5) return std::nullopt;
  return variable->back() == 1;
}

absl::StatusOr<loader::MemoryMap> ReadMemoryMap(const std::string& root) {
  LU_ASSIGN_OR_RETURN(const std::string text,
                      ReadFile(root + "/proc/iomem", kMaxIomem));
  return loader::ParseIomem(text);
}

// What a symbolic link says, up to 255 bytes; "" if it can't be read.
std::string ReadLink(const std::string& path) {
  std::array<char, 256> target;
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  return size > 0 ? std::string(target.data(), static_cast<size_t>(size)) : "";
}

// The names in a folder that are numbers; none if it can't be read.
std::vector<std::string> NumbersIn(const std::string& path) {
  const auto folder = OpenDirectory(path);
  if (!folder.ok()) return {};
  std::vector<std::string> names =
      ListDirectory(*folder).value_or(std::vector<std::string>());
  names.erase(std::remove_if(names.begin(), names.end(),
                             [](const std::string& name) {
                               return !std::all_of(name.begin(), name.end(),
                                                   absl::ascii_isdigit);
                             }),
              names.end());
  return names;
}

// The first other process that has LUO's device open, if any.
std::string FindLuoHolder(const std::string& root) {
  const std::string self = ReadLink(root + "/proc/self");
  size_t looked_at = 0;
  for (const std::string& process : NumbersIn(root + "/proc")) {
    if (process == self) continue;
    const std::string folder = absl::StrCat(root, "/proc/", process);
    for (const std::string& fd : NumbersIn(folder + "/fd")) {
      if (++looked_at > kMaxOpenFiles) return "";
      if (ReadLink(absl::StrCat(folder, "/fd/", fd)) != kLuoDevice) continue;
      return absl::StrCat(ReadLine(folder + "/comm").value_or("process"), " (",
                          process, ")");
    }
  }
  return "";
}

// The choice in brackets: "always within_size [advise] never".
std::string Chosen(absl::string_view choices) {
  for (absl::string_view word : absl::StrSplit(choices, ' ')) {
    if (absl::ConsumePrefix(&word, "[") && absl::ConsumeSuffix(&word, "]")) {
      return std::string(word);
    }
  }
  return "";
}

LuoFacts ReadLuo(const std::string& root) {
  struct stat info {};
  return {
      .device = stat((root + kLuoDevice).c_str(), &info) == 0,
      .holder = FindLuoHolder(root),
      .shmem_huge = Chosen(
          ReadLine(root + "/sys/kernel/mm/transparent_hugepage/shmem_enabled")
              .value_or(""))};
}

// How IPMI's driver, which the kernel's other watchdogs know nothing of, counts
// from a reboot on: drivers/char/ipmi/ipmi_watchdog.c, wdog_reboot_handler.
constexpr uint64_t kIpmiRebootSeconds = 120;

std::vector<HostWatchdog> ReadWatchdogs(const std::string& root) {
  std::vector<HostWatchdog> watchdogs;
  const auto folder = OpenDirectory(root + "/sys/class/watchdog");
  const std::vector<std::string> names =
      folder.ok() ? ListDirectory(*folder).value_or(std::vector<std::string>())
                  : std::vector<std::string>();
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(root, "/sys/class/watchdog/", name);
    if (ReadLine(path + "/state").value_or("") != "active") continue;
    HostWatchdog watchdog{
        .name = name, .identity = ReadLine(path + "/identity").value_or("")};
    (void)absl::SimpleAtoi(ReadLine(path + "/timeout").value_or(""),
                           &watchdog.timeout_s);
    watchdogs.push_back(std::move(watchdog));
  }
  if (access((root + "/sys/module/ipmi_watchdog").c_str(), F_OK) == 0) {
    watchdogs.push_back({.name = "ipmi_watchdog",
                         .identity = "if it counts",
                         .timeout_s = kIpmiRebootSeconds});
  }
  return watchdogs;
}

std::set<std::string> ReadInterfaces(const std::string& root) {
  const auto folder = OpenDirectory(root + "/sys/class/net");
  if (!folder.ok()) return {};
  const auto names = ListDirectory(*folder);
  if (!names.ok() || names->size() > kMaxInterfaces) return {};
  return {names->begin(), names->end()};
}

}  // namespace

absl::StatusOr<HostFacts> CollectHostFacts(const HostFactsOptions& options) {
  const std::string& root = options.root;
  HostFacts facts;
  LU_ASSIGN_OR_RETURN(facts.kernel_release,
                      ReadLine(root + "/proc/sys/kernel/osrelease"));
  LU_ASSIGN_OR_RETURN(facts.boot_id,
                      ReadLine(root + "/proc/sys/kernel/random/boot_id"));
  LU_ASSIGN_OR_RETURN(facts.machine_id, ReadLine(root + "/etc/machine-id"));
  LU_ASSIGN_OR_RETURN(facts.command_line, ReadLine(root + "/proc/cmdline"));
  if (options.identity_only) return facts;
  LU_ASSIGN_OR_RETURN(const std::string process,
                      ReadFile(root + "/proc/self/status", kMaxSmall));
  facts.is_root = IsRoot(process);
  facts.has_cap_sys_boot = HasCapability(process, CAP_SYS_BOOT);

  facts.memory_map = ReadMemoryMap(root);
  facts.preserved = ReadPreservedMount(root, options.preserved_directory);
  facts.kernel_staged = loader::ReadKexecLoaded(root);
  facts.kexec_policy = loader::ReadKexecPolicy(root);
  facts.secure_boot = ReadSecureBoot(root);
  facts.memory_available_bytes =
      MemoryAvailable(ReadFile(root + "/proc/meminfo", kMaxSmall).value_or(""));
  ReadCpu(root, &facts);
  facts.clocksource = ReadLine(root +
                               "/sys/devices/system/clocksource/clocksource0/"
                               "current_clocksource")
                          .value_or("");
  facts.network_interfaces = ReadInterfaces(root);
  facts.watchdogs = ReadWatchdogs(root);
  facts.early_restore_installed =
      access((root + kEarlyRestoreUnit).c_str(), F_OK) == 0;
  facts.early_root = PlanEarlyRoot(root, options.preserved_directory);
  if (options.luo) {
    facts.luo = ReadLuo(root);
    facts.running_kernel =
        loader::ReadRunningKernel(root, facts.kernel_release);
  }
  return facts;
}

}  // namespace live_update
