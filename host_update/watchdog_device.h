// A hardware watchdog: a device that resets the host unless it is fed.
//
// Linux's interface to it: Documentation/watchdog/watchdog-api.rst, and for
// what is told without opening it, which would start it,
// Documentation/ABI/testing/sysfs-class-watchdog.

#ifndef HOST_UPDATE_WATCHDOG_DEVICE_H_
#define HOST_UPDATE_WATCHDOG_DEVICE_H_

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace live_update {

struct WatchdogFacts {
  std::string identity;    // As its driver calls it: "iTCO_wdt".
  bool active = false;     // Somebody has it open, or it was left running.
  bool stoppable = false;  // nowayout is off.
  bool stays_on = false;   // The kernel does not stop it when it goes down.
  std::vector<std::string> modules;  // That drive it, outermost first.
};

class WatchdogDevice {
 public:
  virtual ~WatchdogDevice() = default;

  // Of `path`, "/dev/watchdog0". Does not open it. kNotFound: there is none.
  virtual absl::StatusOr<WatchdogFacts> Look(const std::string& path) = 0;

  // The path of the first one that its driver calls so. kNotFound: none is.
  virtual absl::StatusOr<std::string> Find(const std::string& identity) = 0;

  // The host is reset `timeout` (whole seconds) after the last call, also if
  // this process ends, until Stop. One that was left running is taken over; one
  // that was started here is fed. An error of the first call: it is as it was,
  // or stopped.
  virtual absl::Status StartOrFeed(const std::string& path,
                                   absl::Duration timeout) = 0;

  // What was started here resets nothing any more. OK if nothing was.
  virtual absl::Status Stop() = 0;
};

class LinuxWatchdogDevice final : public WatchdogDevice {
 public:
  // `root` goes before /sys and /dev; "" but in tests.
  explicit LinuxWatchdogDevice(std::string root = "")
      : root_(std::move(root)) {}

  absl::StatusOr<WatchdogFacts> Look(const std::string& path) override;
  absl::StatusOr<std::string> Find(const std::string& identity) override;
  absl::Status StartOrFeed(const std::string& path,
                           absl::Duration timeout) override;
  absl::Status Stop() override;

 private:
  std::string root_;
  std::mutex mutex_;
  UniqueFd device_;  // Open while it was started here.
};

}  // namespace live_update

#endif  // HOST_UPDATE_WATCHDOG_DEVICE_H_
