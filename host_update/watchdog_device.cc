#include "host_update/watchdog_device.h"

#include <fcntl.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "host_update/driver_modules.h"

namespace live_update {
namespace {

constexpr char kClass[] = "/sys/class/watchdog";
// A parameter of the kernel's watchdog core: -1, as the driver says; 0, left
// on; 1, stopped.
constexpr char kStopOnReboot[] =
    "/sys/module/watchdog/parameters/stop_on_reboot";
constexpr uint64_t kMaxAttributeBytes = 4096;

absl::StatusOr<std::string> ReadAttribute(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const std::string text,
                      ReadFile(path, kMaxAttributeBytes));
  return std::string(absl::StripAsciiWhitespace(text));
}

// Its "magic close": what is written last says that this end is meant.
absl::Status WriteMagic(const UniqueFd& device) {
  return Annotate(WriteAll(device, "V"), "stop the watchdog");
}

absl::Status Feed(const UniqueFd& device) {
  if (ioctl(device.get(), WDIOC_KEEPALIVE, 0) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "feed the watchdog");
}

absl::Status StartOpen(const UniqueFd& device, absl::Duration timeout) {
  watchdog_info info{};
  if (ioctl(device.get(), WDIOC_GETSUPPORT, &info) != 0) {
    return absl::ErrnoToStatus(errno, "WDIOC_GETSUPPORT");
  }
  constexpr uint32_t kNeeded = WDIOF_MAGICCLOSE | WDIOF_SETTIMEOUT;
  if ((info.options & kNeeded) != kNeeded) {
    return absl::FailedPreconditionError(absl::StrCat(
        "its driver can't set a timeout, or leave it on when it is closed "
        "(options 0x",
        absl::Hex(info.options), ")"));
  }
  const int asked = static_cast<int>(absl::ToInt64Seconds(timeout));
  int seconds = asked;
  if (ioctl(device.get(), WDIOC_SETTIMEOUT, &seconds) != 0) {
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("a timeout of ", asked, " s"));
  }
  if (seconds < asked) {
    return absl::FailedPreconditionError(
        absl::StrCat("a timeout of ", asked, " s became ", seconds, " s"));
  }
  return Feed(device);
}

}  // namespace

absl::StatusOr<WatchdogFacts> LinuxWatchdogDevice::Look(
    const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  const std::string folder = absl::StrCat(root_, kClass, "/", name);
  WatchdogFacts facts;
  LU_ASSIGN_OR_RETURN(facts.identity, ReadAttribute(folder + "/identity"));
  const auto state = ReadAttribute(folder + "/state");
  if (!state.ok()) return state.status();
  facts.active = *state != "inactive";
  const auto no_way_out = ReadAttribute(folder + "/nowayout");
  if (!no_way_out.ok()) return no_way_out.status();
  facts.stoppable = *no_way_out == "0";
  const auto stop_on_reboot = ReadAttribute(root_ + kStopOnReboot);
  facts.stays_on = stop_on_reboot.ok() && *stop_on_reboot == "0";
  facts.modules = DriverModules(root_, folder);
  std::error_code error;
  if (facts.modules.empty() && !absl::StrContains(facts.identity, '/') &&
      std::filesystem::exists(root_ + "/sys/module/" + facts.identity, error)) {
    // A driver that does not say whose device it drives: wdat_wdt.
    facts.modules.push_back(facts.identity);
  }
  return facts;
}

absl::StatusOr<std::string> LinuxWatchdogDevice::Find(
    const std::string& identity) {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(root_ + kClass, error)) {
    const auto found = ReadAttribute((entry.path() / "identity").string());
    if (found.ok() && *found == identity) {
      return absl::StrCat("/dev/", entry.path().filename().string());
    }
  }
  return absl::NotFoundError(absl::StrCat("no watchdog here is a ", identity));
}

absl::Status LinuxWatchdogDevice::StartOrFeed(const std::string& path,
                                              absl::Duration timeout) {
  std::lock_guard lock(mutex_);
  if (device_.ok()) return Feed(device_);
  UniqueFd device(open((root_ + path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!device.ok()) return absl::ErrnoToStatus(errno, path);
  if (absl::Status started = StartOpen(device, timeout); !started.ok()) {
    // Opening it has started it.
    started.Update(WriteMagic(device));
    return Annotate(started, path);
  }
  device_ = std::move(device);
  return absl::OkStatus();
}

absl::Status LinuxWatchdogDevice::Stop() {
  std::lock_guard lock(mutex_);
  if (!device_.ok()) return absl::OkStatus();
  LU_RETURN_IF_ERROR(WriteMagic(device_));
  device_.Reset();
  return absl::OkStatus();
}

}  // namespace live_update
