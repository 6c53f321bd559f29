// The /init of a kernel that is there to be left: runs the program of /stage
// (a line per argument), which stages a kernel, and jumps into that. Says on
// the serial console when, by the TSC.

#include <fcntl.h>
#include <linux/reboot.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace {

// The program's exit status; 128 and more: it was killed or not started.
int RunStage() {
  std::vector<std::string> words;
  std::ifstream file("/stage");
  for (std::string word; std::getline(file, word);) words.push_back(word);
  if (words.empty()) return 128;
  const pid_t child = fork();
  if (child == 0) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return 128;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int main() {
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  const int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  for (const int fd : {0, 1, 2}) dup2(console, fd);
  if (const int exit = RunStage(); exit != 0) {
    std::printf("\nFLOOR failed: /stage exits with %d\n", exit);
  } else {
    std::printf("\nFLOOR jump %llu\n", __rdtsc());
    std::fflush(stdout);
    reboot(LINUX_REBOOT_CMD_KEXEC);
    std::perror("\nFLOOR failed: reboot(2)");
  }
  std::fflush(stdout);
  sleep(1);
  reboot(RB_POWER_OFF);
}
