// The first program of the first boot after an update, in front of the target's
// own initramfs: mounts the root file system and the preserved memory as the
// old kernel had them, and goes on as the host's /sbin/init. What an initramfs
// does besides is to find out what the old kernel knew: it has VMs wait for
// udev.
//
// Whatever is not as it was written down (a disk of another name, another file
// system in its place), all of it is taken back, and the initramfs's own /init
// does the same as ever. Says in the kernel's log which of the two it was.

#include <fcntl.h>
#include <ftw.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "host_update/early_init/steps.h"

namespace live_update {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kRoot[] = "/host-update/root";
constexpr char kOrdinaryInit[] = "/init";
constexpr char kHostInit[] = "/sbin/init";
constexpr std::chrono::seconds kDevice(10);  // For one to appear.
// With what initramfs-tools mounts them with.
constexpr struct {
  const char* directory;
  const char* type;
  uint64_t flags;
} kKernelFileSystems[] = {
    {"/dev", "devtmpfs", MS_NOSUID},
    {"/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC},
};

void Say(const std::string& text) {
  const int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  if (log < 0) return;
  const std::string line = "<5>host-update: " + text + "\n";
  if (write(log, line.data(), line.size()) < 0) {
  }  // Nobody else is there to be told.
  close(log);
}

// Everything that was mounted, to be unmounted in reverse.
class Mounts {
 public:
  bool Add(const char* device, const std::string& directory, const char* type,
           uint64_t flags, const char* data) {
    if (mount(device, directory.c_str(), type, flags, data) != 0) return false;
    directories_.push_back(directory);
    return true;
  }
  void TakeBack() {
    for (; !directories_.empty(); directories_.pop_back()) {
      umount2(directories_.back().c_str(), MNT_DETACH);
    }
  }

 private:
  std::vector<std::string> directories_;
};

std::optional<std::string> ReadSteps() {
  const int fd = open((std::string("/") + kEarlyStepsInInitrd).c_str(),
                      O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text(kMaxEarlySteps + 1, '\0');
  const ssize_t count = read(fd, text.data(), text.size());
  close(fd);
  if (count < 0) return std::nullopt;
  text.resize(count);
  return text;
}

// Those that are built in are no failure; what is missing shows in a mount that
// fails.
void LoadModules(const std::vector<std::string>& modules) {
  const pid_t child = fork();
  if (child == 0) {
    std::vector<std::string> words = {"modprobe", "-qa"};
    words.insert(words.end(), modules.begin(), modules.end());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    for (const char* path : {"/sbin/modprobe", "/usr/sbin/modprobe",
                             "/bin/modprobe", "/usr/bin/modprobe"}) {
      execv(path, arguments.data());
    }
    _exit(1);
  }
  if (child > 0) waitpid(child, nullptr, 0);
}

bool IsThere(const std::string& device) {
  const auto until = Clock::now() + kDevice;
  struct stat info {};
  while (stat(device.c_str(), &info) != 0 || !S_ISBLK(info.st_mode)) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

bool IsOurs(const EarlyIdentity& identity) {
  struct stat info {};
  return lstat((kRoot + identity.path).c_str(), &info) == 0 &&
         info.st_ino == identity.inode &&
         info.st_ctim.tv_sec == identity.changed_s &&
         info.st_ctim.tv_nsec == identity.changed_ns;
}

// Everything up to the point of no return. Empty, or what went wrong.
std::string MountAll(Mounts& mounts) {
  for (const auto& [directory, type, flags] : kKernelFileSystems) {
    mkdir(directory, 0755);
    if (!mounts.Add(type, directory, type, flags, nullptr)) {
      return std::string("mount ") + directory + ": " + strerror(errno);
    }
  }
  const std::optional<std::string> text = ReadSteps();
  const std::optional<EarlySteps> steps =
      text.has_value() ? ParseEarlySteps(*text) : std::nullopt;
  if (!steps.has_value()) return "its steps can't be read";
  LoadModules(steps->modules);
  mkdir(kRoot, 0755);
  for (const EarlyMount& step : steps->mounts) {
    if (!IsThere(step.device)) return step.device + " is not there";
    const bool root = &step == &steps->mounts.front();
    if (!mounts.Add(step.device.c_str(), root ? kRoot : kRoot + step.directory,
                    step.type.c_str(), step.flags, step.data.c_str())) {
      return "mount " + step.device + ": " + strerror(errno);
    }
    if (root && !IsOurs(steps->identity)) {
      return step.device + " has another root file system";
    }
  }
  struct stat info {};
  // Where a link leads can't be seen from here.
  if (lstat((std::string(kRoot) + kHostInit).c_str(), &info) != 0) {
    return std::string(kHostInit) + ": " + strerror(errno);
  }
  for (const auto& entry : kKernelFileSystems) {
    const std::string target = std::string(kRoot) + entry.directory;
    if (stat(target.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
      return target + " is not there";
    }
  }
  return "";
}

int Remove(const char* path, const struct stat*, int, FTW*) {
  remove(path);
  return 0;
}

// The root file system becomes "/", and what lay in memory before it is freed.
bool EnterRoot() {
  for (const auto& entry : kKernelFileSystems) {
    const std::string target = std::string(kRoot) + entry.directory;
    if (mount(entry.directory, target.c_str(), nullptr, MS_MOVE, nullptr) !=
        0) {
      return false;
    }
  }
  if (chdir(kRoot) != 0) return false;
  constexpr int kOpen = 16;
  nftw("/", Remove, kOpen, FTW_DEPTH | FTW_MOUNT | FTW_PHYS);
  return mount(".", "/", nullptr, MS_MOVE, nullptr) == 0 && chroot(".") == 0 &&
         chdir("/") == 0;
}

// Goes on as `program`; returns only if that can't be executed.
void Become(const char* program, char** arguments) {
  std::string name = program;
  arguments[0] = name.data();
  execv(program, arguments);
}

}  // namespace
}  // namespace live_update

int main(int, char** argv) {
  using live_update::Say;
  const auto started = live_update::Clock::now();
  live_update::Mounts mounts;
  const std::string problem = live_update::MountAll(mounts);
  if (!problem.empty()) {
    Say(problem + "; the initramfs finds the root file system");
    mounts.TakeBack();
    live_update::Become(live_update::kOrdinaryInit, argv);
    return 1;  // The kernel panics; VMs stay in preserved memory.
  }
  Say("the root file system is there after " +
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(
                         live_update::Clock::now() - started)
                         .count()) +
      " ms, without the initramfs");
  if (!live_update::EnterRoot()) return 1;
  live_update::Become(live_update::kHostInit, argv);
  return 1;
}
