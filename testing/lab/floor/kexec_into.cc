// kexec_into KERNEL INITRD COMMAND_LINE: jumps at once, without a shutdown.
// Says so on the console first, so that the time of the jump is known outside.
// INITRD "" is none.

#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string_view>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: kexec_into KERNEL INITRD COMMAND_LINE\n");
    return 64;
  }
  const int kernel = open(argv[1], O_RDONLY | O_CLOEXEC);
  const bool has_initrd = *argv[2] != '\0';
  const int initrd = has_initrd ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1;
  if (syscall(SYS_kexec_file_load, kernel, initrd, std::strlen(argv[3]) + 1,
              argv[3], has_initrd ? 0L : KEXEC_FILE_NO_INITRAMFS) != 0) {
    std::perror("kexec_file_load");
    return 1;
  }
  sync();
  const int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  constexpr std::string_view kLine = "\nFLOOR jump\n";
  if (write(console, kLine.data(), kLine.size()) < 0) std::perror("console");
  syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
          LINUX_REBOOT_CMD_KEXEC, nullptr);
  std::perror("reboot");
  return 1;
}
