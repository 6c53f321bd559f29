// What a keeper (keeper.h) and its client say to each other: one request and
// one reply a connection, each one packet of fixed size, a descriptor riding
// along where there is one. Both ends are the same program of the same boot, so
// there are no versions; the magic is against strangers.

#ifndef STATE_PRESERVE_KEEPER_PROTOCOL_H_
#define STATE_PRESERVE_KEEPER_PROTOCOL_H_

#include <cstdint>

namespace live_update {

inline constexpr uint32_t kKeeperMagic = 0x5045454B;  // "KEEP"

// With the NUL at the end. 1 to 63 letters, digits, '-', '_', '.' and '/'.
inline constexpr uint32_t kKeeperNameBytes = 64;

// Enough for 4096 VMs, each with a second entry while it is being taken over.
inline constexpr uint32_t kKeeperMaxEntries = 8256;

inline constexpr uint32_t kKeeperNamesPerReply = 32;

enum class KeeperOperation : uint32_t {
  kInvalid = 0,
  kPut = 1,         // Name and descriptor in. EEXIST, ENOSPC, EMFILE.
  kGet = 2,         // Name in, descriptor out. ENOENT.
  kDrop = 3,        // Name in; closed before the reply is sent. ENOENT.
  kList = 4,        // `first_slot` in; names out.
  kEndIfEmpty = 5,  // Ends the keeper if it holds nothing.
};

struct KeeperRequest {
  uint32_t magic;
  KeeperOperation operation;
  uint32_t first_slot;  // kList: 0, then the last reply's `next_slot`.
  uint32_t reserved;
  char name[kKeeperNameBytes];
};
static_assert(sizeof(KeeperRequest) == 80);

struct KeeperReply {
  uint32_t magic;
  int32_t error;  // 0 or an errno.
  int32_t pid;    // The keeper's.
  uint32_t name_count;
  uint32_t next_slot;  // kKeeperMaxEntries: that was all.
  uint32_t reserved;
  char names[kKeeperNamesPerReply][kKeeperNameBytes];
};
static_assert(sizeof(KeeperReply) == 24 + 32 * 64);

// Whether `name` ends within its field and is one of those allowed. Calls
// nothing, so that the keeper may use it.
inline bool IsKeeperName(const char (&name)[kKeeperNameBytes]) {
  for (uint32_t i = 0; i < kKeeperNameBytes; ++i) {
    const char c = name[i];
    if (c == '\0') return i > 0;
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '-' && c <= '9') && c != '_') return false;
  }
  return false;
}

}  // namespace live_update

#endif  // STATE_PRESERVE_KEEPER_PROTOCOL_H_
