// Which modules the kernel needs for a device.

#ifndef HOST_UPDATE_DRIVER_MODULES_H_
#define HOST_UPDATE_DRIVER_MODULES_H_

#include <filesystem>
#include <string>
#include <vector>

namespace live_update {

// The modules of the drivers of `device`, a folder of /sys/devices, and of all
// devices that it hangs on, outermost first: "virtio_pci", "virtio_blk". Also
// those that are built in, if the kernel has a name for them. `root` goes
// before /sys; "" but in tests. Empty if `device` is not there.
std::vector<std::string> DriverModules(const std::string& root,
                                       const std::filesystem::path& device);

}  // namespace live_update

#endif  // HOST_UPDATE_DRIVER_MODULES_H_
