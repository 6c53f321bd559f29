#include "state_preserve/luo_device.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/status_macros.h"
#include "state_preserve/luo_errors.h"
#include "state_preserve/luo_uapi.h"

namespace live_update {
namespace {

class LinuxLuoSession final : public LuoSession {
 public:
  explicit LinuxLuoSession(UniqueFd fd) : fd_(std::move(fd)) {}

  const UniqueFd& fd() const override { return fd_; }

  absl::Status Preserve(const UniqueFd& file, uint64_t token) override {
    LuoPreserveFd call = {
        .size = sizeof(call), .fd = file.get(), .token = token};
    if (ioctl(fd_.get(), kLuoIoctlPreserveFd, &call) == 0) {
      return absl::OkStatus();
    }
    return LuoPreserveError(errno, token, file);
  }

  absl::StatusOr<UniqueFd> Retrieve(uint64_t token) override {
    LuoRetrieveFd call = {.size = sizeof(call), .fd = -1, .token = token};
    if (ioctl(fd_.get(), kLuoIoctlRetrieveFd, &call) != 0) {
      return LuoRetrieveError(errno, token);
    }
    return UniqueFd(call.fd);
  }

  absl::Status Finish() override {
    LuoFinish call = {.size = sizeof(call), .reserved = 0};
    if (ioctl(fd_.get(), kLuoIoctlFinish, &call) == 0) return absl::OkStatus();
    return LuoFinishError(errno);
  }

 private:
  const UniqueFd fd_;
};

class LinuxLuoDevice final : public LuoDevice {
 public:
  explicit LinuxLuoDevice(UniqueFd fd) : fd_(std::move(fd)) {}

  absl::StatusOr<std::unique_ptr<LuoSession>> CreateSession(
      const std::string& name) override {
    LuoCreateSession call = {.size = sizeof(call), .fd = -1, .name = {}};
    if (name.empty() || name.size() >= sizeof(call.name)) {
      return LuoCreateError(EINVAL, name);
    }
    std::copy(name.begin(), name.end(), call.name);
    if (ioctl(fd_.get(), kLuoIoctlCreateSession, &call) != 0) {
      return LuoCreateError(errno, name);
    }
    return std::make_unique<LinuxLuoSession>(UniqueFd(call.fd));
  }

  absl::StatusOr<std::unique_ptr<LuoSession>> RetrieveSession(
      const std::string& name) override {
    LuoRetrieveSession call = {.size = sizeof(call), .fd = -1, .name = {}};
    // No such name can have been given.
    if (name.empty() || name.size() >= sizeof(call.name)) {
      return LuoRetrieveSessionError(ENOENT, name);
    }
    std::copy(name.begin(), name.end(), call.name);
    if (ioctl(fd_.get(), kLuoIoctlRetrieveSession, &call) != 0) {
      return LuoRetrieveSessionError(errno, name);
    }
    return std::make_unique<LinuxLuoSession>(UniqueFd(call.fd));
  }

 private:
  const UniqueFd fd_;
};

class LinuxLuoKernel final : public LuoKernel {
 public:
  explicit LinuxLuoKernel(std::string device_path)
      : device_path_(std::move(device_path)) {}

  absl::StatusOr<std::unique_ptr<LuoDevice>> OpenDevice() override {
    UniqueFd fd(open(device_path_.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.ok()) return LuoOpenError(errno, device_path_);
    return std::make_unique<LinuxLuoDevice>(std::move(fd));
  }

  std::unique_ptr<LuoSession> AdoptSession(UniqueFd fd) override {
    return std::make_unique<LinuxLuoSession>(std::move(fd));
  }

 private:
  const std::string device_path_;
};

}  // namespace

std::unique_ptr<LuoKernel> NewLuoKernel(const std::string& device_path) {
  return std::make_unique<LinuxLuoKernel>(device_path);
}

}  // namespace live_update
