#include "testing/lab/guest/modules.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "testing/lab/guest/console.h"

void LoadModules() {
  if (!std::filesystem::exists("/modules")) return;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator("/modules"))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    // ENODEV: the VM has nothing for it, as efivarfs without UEFI.
    if (fd < 0 ||
        (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != ENODEV))
      PrintFailure(path.c_str());
    close(fd);
  }
}
