// A WatchdogDevice that remembers whether it runs.

#ifndef TESTING_FAKE_WATCHDOG_DEVICE_H_
#define TESTING_FAKE_WATCHDOG_DEVICE_H_

#include <atomic>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host_update/watchdog_device.h"

namespace live_update::testing {

struct FakeWatchdogDevice final : public WatchdogDevice {
  absl::StatusOr<WatchdogFacts> facts =
      WatchdogFacts{.identity = "fake_wdt",
                    .stoppable = true,
                    .stays_on = true,
                    .modules = {"bus", "fake_wdt"}};
  absl::Status next_start;  // What comes of it.
  bool found = true;        // Its driver is loaded.
  std::atomic<bool> runs = false;
  std::atomic<int> fed = 0;
  absl::Duration timeout;

  absl::StatusOr<WatchdogFacts> Look(const std::string&) override {
    return facts;
  }
  absl::StatusOr<std::string> Find(const std::string& identity) override {
    if (found && identity == facts->identity) return "/dev/watchdog7";
    return absl::NotFoundError("no such watchdog");
  }
  absl::Status StartOrFeed(const std::string& path,
                           absl::Duration asked) override {
    if (path != "/dev/watchdog7") return absl::NotFoundError(path);
    if (!next_start.ok()) return next_start;
    if (!runs) timeout = asked;
    runs = true;
    ++fed;
    return absl::OkStatus();
  }
  absl::Status Stop() override {
    runs = false;
    return absl::OkStatus();
  }
};

}  // namespace live_update::testing

#endif  // TESTING_FAKE_WATCHDOG_DEVICE_H_
