// The one program of the lab's guests, started as /init of a one-file
// initramfs.
//
// It makes everything that a live update must not lose visible on the serial
// console:
//
//   BOOT boot_id=… memory=…        once, and every 50 ticks
//   T number mono wall rtc passes bad               every guest.tick_ms; short,
//   as each character costs the VM an exit VERIFY pass=… from=… to=… sum=…
//   bad=…          each time all of the filled memory was read again; from and
//   to are ticks DISK seq=… verified=… bad=…    with a virtio disk NET
//   address=…                  with guest.address=, and an echo server on TCP
//   7000 FAIL …                         should never be seen
//
//   With guest.see=1 what machine.h says; with guest.plugged=1, once memory has
//   been plugged in, PLUGGED pass=… sum=… bad=… for a pattern in that; with
//   guest.dial=ADDRESS:PORT what network.h says.
//
// Words of the kernel command line: guest.seed, guest.fill (per cent of free
// memory), guest.tick_ms, guest.verify_mib (per tick), guest.address,
// guest.disk (its name, if it is not vda), guest.disk_ms (between two records),
// guest.see, guest.plugged, guest.dial, guest.count (a terminal to count on).

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <thread>

#include "testing/lab/guest/clocks.h"
#include "testing/lab/guest/console.h"
#include "testing/lab/guest/disk_records.h"
#include "testing/lab/guest/machine.h"
#include "testing/lab/guest/memory_pattern.h"
#include "testing/lab/guest/modules.h"
#include "testing/lab/guest/network.h"

namespace {

constexpr uint64_t kWordsPerMib = (1 << 20) / sizeof(uint64_t);
constexpr uint16_t kEchoPort = 7000;
constexpr uint64_t kDiskSlots = 2048;  // 8 MiB of the disk.

std::string FirstLine(const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// The value of `name` on the kernel command line, or `fallback`.
std::string Word(const std::string& name, const std::string& fallback) {
  std::ifstream file("/proc/cmdline");
  for (std::string word; file >> word;) {
    if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
  }
  return fallback;
}

uint64_t Number(const std::string& name, uint64_t fallback) {
  return std::strtoull(Word(name, std::to_string(fallback)).c_str(), nullptr,
                       10);
}

void MountKernelFileSystems() {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  const int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    dup2(console, fd);
}

// Some devices are found only after their module has been loaded.
void WaitFor(const std::string& path) {
  for (int i = 0; i < 100 && !std::filesystem::exists(path); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

std::span<uint64_t> AllocateShareOfFreeMemory(uint64_t percent) {
  struct sysinfo memory {};
  sysinfo(&memory);
  const uint64_t bytes = memory.freeram / 100 * percent / (1 << 20) * (1 << 20);
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (start == MAP_FAILED) {
    PrintFailure("mmap");
    return {};
  }
  return {static_cast<uint64_t*>(start), bytes / sizeof(uint64_t)};
}

struct Progress {
  std::atomic<uint64_t> tick{0};
  std::atomic<uint64_t> passes{0};
  std::atomic<uint64_t> bad_words{0};
};

// Reads `words_per_step` words each `pause`, so that a pass is spread over time
// and a processor is left for the rest.
void VerifyForever(const MemoryPattern& pattern, uint64_t words_per_step,
                   std::chrono::milliseconds pause, Progress& progress) {
  for (;;) {
    const uint64_t from = progress.tick;
    MemoryPattern::Verdict verdict;
    for (uint64_t at = 0; at < pattern.size(); at += words_per_step) {
      pattern.Verify(at, at + words_per_step, verdict);
      std::this_thread::sleep_for(pause);
    }
    progress.bad_words += verdict.bad_words;
    const uint64_t pass = ++progress.passes;
    Print("VERIFY pass=%lu from=%lu to=%lu sum=%016lx bad=%lu first=%lu", pass,
          from, progress.tick.load(), verdict.checksum, verdict.bad_words,
          verdict.first_bad);
  }
}

// Waits until there is more memory than at the start, fills some of what is
// free then, which the kernel takes from the new memory first
// (memhp_default_state=online_movable), and verifies it for ever. Not more:
// each new page is an exit, and the host has to find memory for it.
void FillPluggedMemory(uint64_t seed) {
  struct sysinfo memory {};
  sysinfo(&memory);
  const uint64_t at_start = memory.totalram;
  constexpr uint64_t kPlugged = uint64_t{64} << 20;
  while (memory.totalram < at_start + kPlugged) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    sysinfo(&memory);
  }
  const MemoryPattern pattern(AllocateShareOfFreeMemory(15), seed);
  for (uint64_t pass = 1;; ++pass) {
    MemoryPattern::Verdict verdict;
    for (uint64_t at = 0; at < pattern.size(); at += kWordsPerMib) {
      pattern.Verify(at, at + kWordsPerMib, verdict);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    Print("PLUGGED pass=%lu words=%lu sum=%016lx bad=%lu", pass, pattern.size(),
          verdict.checksum, verdict.bad_words);
  }
}

[[noreturn]] void TickForever(std::chrono::milliseconds period,
                              uint64_t memory_bytes, Progress& progress) {
  const std::string boot_id = FirstLine("/proc/sys/kernel/random/boot_id");
  RealTimeClock rtc;
  auto next = std::chrono::steady_clock::now();
  for (;;) {
    const uint64_t n = ++progress.tick;
    if (n % 50 == 1)
      Print("BOOT boot_id=%s memory=%lu", boot_id.c_str(), memory_bytes);
    const int64_t hardware = rtc.Seconds();
    Print("T %lu %.3f %.3f %ld %lu %lu", n, MonotonicSeconds(), WallSeconds(),
          hardware, progress.passes.load(), progress.bad_words.load());
    next = std::max(next + period, std::chrono::steady_clock::now());
    std::this_thread::sleep_until(next);
  }
}

// What only some guests have.
void StartExtras() {
  if (Number("guest.see", 0) != 0) std::thread(SeeForever).detach();
  if (Number("guest.plugged", 0) != 0) {
    std::thread(FillPluggedMemory, Number("guest.seed", 1) + 1).detach();
  }
  const std::string terminal = Word("guest.count", "");
  if (!terminal.empty()) {
    std::thread([=] {
      WaitFor(terminal);
      CountOn(terminal);
    }).detach();
  }
  const std::string server = Word("guest.dial", "");
  const size_t colon = server.find(':');
  if (colon != std::string::npos) {
    std::thread([=] {
      DialForever(server.substr(0, colon).c_str(),
                  std::strtoul(server.c_str() + colon + 1, nullptr, 10));
    }).detach();
  }
}

}  // namespace

int main() {
  MountKernelFileSystems();
  LoadModules();
  const std::chrono::milliseconds period(Number("guest.tick_ms", 100));
  static Progress progress;

  static const std::string disk = Word("guest.disk", "vda");
  if (disk != "vda" || std::filesystem::exists("/sys/block/vda")) {
    std::thread([] {
      WaitFor("/sys/block/" + disk);
      WriteRecords(("/dev/" + disk).c_str(), kDiskSlots,
                   static_cast<int>(Number("guest.disk_ms", 200)));
    }).detach();
  }
  static const std::string address = Word("guest.address", "");
  if (!address.empty() && BringUp(address.c_str()))
    std::thread(ServeEcho, kEchoPort).detach();
  StartExtras();

  const std::span<uint64_t> memory =
      AllocateShareOfFreeMemory(Number("guest.fill", 60));
  static const MemoryPattern pattern(memory, Number("guest.seed", 1));
  const uint64_t step =
      std::max<uint64_t>(1, Number("guest.verify_mib", 2)) * kWordsPerMib;
  std::thread([=] { VerifyForever(pattern, step, period, progress); }).detach();
  TickForever(period, memory.size_bytes(), progress);
}
