#include "host_update/driver_modules.h"

#include <system_error>

namespace live_update {

std::vector<std::string> DriverModules(const std::string& root,
                                       const std::filesystem::path& device) {
  std::vector<std::string> modules;
  std::error_code error;
  const auto top = std::filesystem::canonical(root + "/sys/devices", error);
  if (error) return modules;
  auto at = std::filesystem::canonical(device, error);
  if (error) return modules;
  for (; at != top && at != at.parent_path(); at = at.parent_path()) {
    std::error_code none;
    const auto module = std::filesystem::canonical(at / "driver/module", none);
    if (!none) modules.insert(modules.begin(), module.filename().string());
  }
  return modules;
}

}  // namespace live_update
