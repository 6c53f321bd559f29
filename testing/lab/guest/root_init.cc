// The /init of an initramfs for a guest whose root is an ext4 file system on
// /dev/vda: loads modules, mounts it and goes on as that file system's own
// /sbin/init. What Debian's initramfs does besides takes minutes in a guest of
// an emulated host.

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "testing/lab/guest/console.h"
#include "testing/lab/guest/modules.h"

namespace {

constexpr char kDisk[] = "/dev/vda";
constexpr char kRoot[] = "/root";

bool Mount(const char* source, const char* target, const char* type,
           unsigned long flags) {  // NOLINT(google-runtime-int): mount's type.
  if (mount(source, target, type, flags, nullptr) == 0) return true;
  PrintFailure(target);
  return false;
}

void OpenConsole() {
  const int console = open("/dev/console", O_RDWR | O_NOCTTY);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    dup2(console, fd);
}

bool EnterRoot() {
  mkdir(kRoot, 0755);
  if (!Mount(kDisk, kRoot, "ext4", MS_NOATIME) ||
      !Mount("/dev", (std::string(kRoot) + "/dev").c_str(), nullptr, MS_MOVE) ||
      chdir(kRoot) != 0 || !Mount(".", "/", nullptr, MS_MOVE)) {
    return false;
  }
  return chroot(".") == 0 && chdir("/") == 0;
}

}  // namespace

int main() {
  mkdir("/dev", 0755);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  OpenConsole();
  LoadModules();
  for (int i = 0; i < 100 && !std::filesystem::exists(kDisk); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  if (EnterRoot()) execl("/sbin/init", "/sbin/init", nullptr);
  PrintFailure("/sbin/init");
  return 1;
}
