// The Live Update Orchestrator's user interface as of Linux 7.3,
// include/uapi/linux/liveupdate.h, which Debian 12's kernel headers lack. To be
// replaced by <linux/liveupdate.h> when they have it.
//
// All numbers are _IO(0xBA, nr): neither size nor direction is encoded; the
// first field of every struct is its size, by which the kernel tells versions
// apart.

#ifndef STATE_PRESERVE_LUO_UAPI_H_
#define STATE_PRESERVE_LUO_UAPI_H_

#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace live_update {

// Session names, with the NUL at the end.
inline constexpr size_t kLuoNameBytes = 64;

// On /dev/liveupdate.
struct LuoCreateSession {
  uint32_t size;
  int32_t fd;  // Out.
  uint8_t name[kLuoNameBytes];
};
struct LuoRetrieveSession {
  uint32_t size;
  int32_t fd;  // Out.
  uint8_t name[kLuoNameBytes];
};

// On a session.
struct LuoPreserveFd {
  uint32_t size;
  int32_t fd;
  uint64_t token;
};
struct LuoRetrieveFd {
  uint32_t size;
  int32_t fd;  // Out.
  uint64_t token;
};
struct LuoFinish {
  uint32_t size;
  uint32_t reserved;  // 0
};

static_assert(sizeof(LuoCreateSession) == 72);
static_assert(sizeof(LuoRetrieveSession) == 72);
static_assert(sizeof(LuoPreserveFd) == 16);
static_assert(offsetof(LuoPreserveFd, token) == 8);
static_assert(sizeof(LuoRetrieveFd) == 16);
static_assert(offsetof(LuoRetrieveFd, token) == 8);
static_assert(sizeof(LuoFinish) == 8);

inline constexpr uint32_t kLuoIoctlCreateSession = _IO(0xBA, 0x00);
inline constexpr uint32_t kLuoIoctlRetrieveSession = _IO(0xBA, 0x01);
inline constexpr uint32_t kLuoIoctlPreserveFd = _IO(0xBA, 0x40);
inline constexpr uint32_t kLuoIoctlRetrieveFd = _IO(0xBA, 0x41);
inline constexpr uint32_t kLuoIoctlFinish = _IO(0xBA, 0x42);

static_assert(kLuoIoctlCreateSession == 0xBA00);
static_assert(kLuoIoctlFinish == 0xBA42);

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_UAPI_H_
