#include "testing/lab/guest/machine.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "testing/lab/guest/console.h"
#include "testing/lab/guest/tpm.h"

namespace {

constexpr char kVariables[] = "/sys/firmware/efi/efivars";
// Of a vendor of its own: the firmware knows all names of the global one.
constexpr char kVariable[] =
    "/sys/firmware/efi/efivars/LabMark-3cc08f50-1caa-4296-9d9b-7d0473be47e1";
// Attributes (kept, also seen at run time) and content.
constexpr char kMark[] = "\x07\0\0\0mark";
constexpr std::chrono::seconds kPause(5);

std::string FirstLine(const std::string& path, const std::string& fallback) {
  std::string line;
  std::ifstream file(path);
  return std::getline(file, line) ? line : fallback;
}

std::string MemoryKib() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::string amount;
  file >> word >> amount;
  return amount;
}

void LeaveMarks() {
  if (std::filesystem::exists("/dev/tpm0") && !ExtendPcr()) {
    Print("FAIL the TPM does not extend a register");
  }
  if (!std::filesystem::exists(kVariables)) return;
  if (mount("efivarfs", kVariables, "efivarfs", 0, nullptr) != 0) {
    return PrintFailure(kVariables);
  }
  const int fd = open(kVariable, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, kMark, sizeof(kMark) - 1) != sizeof(kMark) - 1) {
    PrintFailure(kVariable);
  }
  close(fd);
}

// The file's content is asked of the firmware each time.
std::string EfiMark() {
  std::array<char, 16> content{};
  const int fd = open(kVariable, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "-";
  const ssize_t got = read(fd, content.data(), content.size());
  close(fd);
  return got > 4 ? std::string(content.data() + 4, got - 4) : "unreadable";
}

std::string RandomNumbers() {
  const int fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "-";
  uint64_t number = 0;
  const bool got = read(fd, &number, sizeof(number)) == sizeof(number);
  close(fd);
  return got ? "ok" : "-";
}

}  // namespace

void SeeForever() {
  LeaveMarks();
  for (uint64_t number = 1;; ++number) {
    const std::string pcr = ReadPcr();
    Print("SEE number=%lu cpus=%s nodes=%s memory_kib=%s pcr=%s efi=%s rng=%s",
          number, FirstLine("/sys/devices/system/cpu/online", "-").c_str(),
          FirstLine("/sys/devices/system/node/online", "-").c_str(),
          MemoryKib().c_str(), pcr.empty() ? "-" : pcr.c_str(),
          EfiMark().c_str(), RandomNumbers().c_str());
    std::this_thread::sleep_for(kPause);
  }
}

void CountOn(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return PrintFailure(path.c_str());
  termios settings{};
  if (tcgetattr(fd, &settings) == 0) {
    cfmakeraw(&settings);
    tcsetattr(fd, TCSANOW, &settings);
  }
  for (uint64_t number = 1;; ++number) {
    const std::string line = std::to_string(number) + "\n";
    if (write(fd, line.data(), line.size()) !=
        static_cast<ssize_t>(line.size())) {
      return PrintFailure(path.c_str());
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}
