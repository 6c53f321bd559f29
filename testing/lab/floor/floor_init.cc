// The smallest /init: its first act is to say so on the serial console, its
// last to turn the machine off.

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

int main() {
  mkdir("/dev", 0755);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  const int console = open("/dev/ttyS0", O_WRONLY | O_NOCTTY);
  constexpr std::string_view kLine = "\nFLOOR first instruction\n";
  if (write(console, kLine.data(), kLine.size()) > 0) sleep(1);
  reboot(RB_POWER_OFF);
}
