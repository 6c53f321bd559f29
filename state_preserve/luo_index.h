// The index of the luo backend: which VMs an update preserved, under which LUO
// session names and tokens. The kernel can list neither, so without it nothing
// of an update can be found again.
//
// It lies in a memfd of its own, of fixed size, in the handover session:
//
//   offset  size
//   0       8     magic "LUOINDEX"; zero: being written, or never was
//   8       4     version
//   12      4     header_crc32c  of these 32 bytes, with this field as zero
//   16      8     body_size      in bytes
//   24      4     body_crc32c
//   28      4     reserved
//   32            body: LuoIndex (luo_index.proto)
//
// All numbers are little-endian. A changed layout is a new version; the body
// grows without one.

#ifndef STATE_PRESERVE_LUO_INDEX_H_
#define STATE_PRESERVE_LUO_INDEX_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "state_preserve/luo_index.pb.h"

namespace live_update {

inline constexpr uint64_t kLuoIndexMagic = 0x5845444E494F554C;  // "LUOINDEX"
inline constexpr uint32_t kLuoIndexVersion = 1;

struct LuoIndexHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t header_crc32c;
  uint64_t body_size;
  uint32_t body_crc32c;
  uint32_t reserved;
};
static_assert(sizeof(LuoIndexHeader) == 32);

// The names and tokens in the kernel, which both kernels' programs must agree
// on. The handover session has the index and the image; a VM's has its RAM, by
// tokens that are given once in an update.
inline constexpr absl::string_view kLuoHandoverSession = "hu-handover";
inline constexpr absl::string_view kLuoVmSessionPrefix = "hu-vm-";
inline constexpr size_t kMaxLuoVmSessionBytes = 58;
inline constexpr uint64_t kLuoIndexToken = 0;
inline constexpr uint64_t kLuoImageToken = 1;
inline constexpr uint64_t kFirstLuoRamToken = 2;

// With room for 4096 VMs of several blocks each.
inline constexpr uint64_t kLuoIndexBytes = uint64_t{4} << 20;

// What holds for every index: ids, UUIDs and names are there and within their
// limits, nothing is named twice. kInvalidArgument says what is wrong.
absl::Status CheckLuoIndex(const LuoIndex& index);

// Writes `index` to the start of `area`, which is aligned to 8 bytes; an index
// that was there is gone first, so that a reader finds the old one, none or the
// new one. kInvalidArgument: CheckLuoIndex; kResourceExhausted: `area` is too
// small; then it is as before.
absl::Status WriteLuoIndex(const LuoIndex& index, absl::Span<uint8_t> area);

// Hostile bytes to an index that passes CheckLuoIndex. Takes time and memory
// bounded by their number. kDataLoss: none, or damaged; kUnimplemented: of
// another version.
absl::StatusOr<LuoIndex> ReadLuoIndex(absl::Span<const uint8_t> bytes);

// The VM's entry; null if there is none.
const LuoIndex::Vm* FindVm(const LuoIndex& index, absl::string_view uuid);

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_INDEX_H_
