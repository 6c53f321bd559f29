#include "testing/lab/guest/disk_records.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "testing/lab/guest/console.h"

namespace {

constexpr size_t kRecordBytes = 4096;
constexpr size_t kWords = kRecordBytes / sizeof(uint64_t);

struct alignas(kRecordBytes) Record {
  uint64_t words[kWords];  // The first is the sequence number, the rest follow
                           // from it.
};

uint64_t Word(uint64_t seq, size_t index) {
  return (seq * kWords + index) * 0x9E3779B97F4A7C15U;
}

void Compose(uint64_t seq, Record& record) {
  record.words[0] = seq;
  for (size_t i = 1; i < kWords; ++i) record.words[i] = Word(seq, i);
}

bool Holds(const Record& record, uint64_t seq) {
  if (record.words[0] != seq) return false;
  for (size_t i = 1; i < kWords; ++i) {
    if (record.words[i] != Word(seq, i)) return false;
  }
  return true;
}

off_t Offset(uint64_t seq, uint64_t slots) {
  return static_cast<off_t>(seq % slots * kRecordBytes);
}

}  // namespace

void WriteRecords(const char* path, uint64_t slots, int period_ms) {
  const int fd = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
  if (fd < 0) return PrintFailure(path);
  static Record record;
  uint64_t verified = 0;
  uint64_t bad = 0;
  for (uint64_t seq = 1;; ++seq) {
    Compose(seq, record);
    if (pwrite(fd, &record, kRecordBytes, Offset(seq, slots)) != kRecordBytes)
      return PrintFailure("write of a record");
    // Walks backwards through what is still on the disk, so that every record
    // is seen again while it lives.
    const uint64_t live = seq < slots ? seq : slots;
    const uint64_t older = seq - (seq * 7919) % live;
    if (pread(fd, &record, kRecordBytes, Offset(older, slots)) != kRecordBytes)
      return PrintFailure("read of a record");
    if (Holds(record, older)) {
      ++verified;
    } else {
      ++bad;
    }
    if (seq % 10 == 0)
      Print("DISK seq=%lu verified=%lu bad=%lu", seq, verified, bad);
    std::this_thread::sleep_for(std::chrono::milliseconds(period_ms));
  }
}
