#ifndef TESTING_LAB_GUEST_DISK_RECORDS_H_
#define TESTING_LAB_GUEST_DISK_RECORDS_H_

#include <cstdint>

// Writes numbered, checksummed records to the block device `path` past the page
// cache, one each `period_ms`, goes round in its first `slots` sectors of 4096
// bytes, and after each write re-reads one older record. Every tenth record it
// prints "DISK seq=… verified=… bad=…". Never returns; prints a failure and
// ends where the device has gone.
void WriteRecords(const char* path, uint64_t slots, int period_ms);

#endif  // TESTING_LAB_GUEST_DISK_RECORDS_H_
