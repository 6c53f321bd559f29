// The layout of a handover image.
//
// This header is a contract between two builds of this program, one of which
// has shipped. Any change to a struct, a constant or a CRC's range below needs
// a new kHandoverVersion, and a reader that still takes the last one; README.md
// in this folder is the specification and has the rules.
//
//   0         HandoverHeader
//   64        VM section ──┐  kVm, kDeviceState, kAuxiliaryRam …,
//             VM section   │  kRamDigests?, kEnd
//             …            │
//   host_section_offset    │
//             host section │  kHost, kDirectory, kAuthentication?, kEnd
//   total_size             └─ found through the directory
//
// The host section comes last because it is known last: it says how long the
// pause and the saves before it took.
//
// All numbers are little-endian. Everything starts at a multiple of 8.

#ifndef STATE_PRESERVE_FORMAT_H_
#define STATE_PRESERVE_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace live_update {

static_assert(std::endian::native == std::endian::little);

// "HANDOVER" as bytes. Written last: an image whose first 8 bytes are zero is
// one whose writer did not finish, or that was revoked.
inline constexpr uint64_t kHandoverMagic = 0x5245564f444e4148;

inline constexpr uint32_t kHandoverVersion = 2;

// The first version that has kAuthentication.
inline constexpr uint32_t kFirstAuthenticatedVersion = 2;

// Readers take the last version too, writers can be told to write it: the next
// kernel's restorer may be older or newer than this program by one.
inline constexpr uint32_t kOldestHandoverVersion =
    kHandoverVersion > 1 ? kHandoverVersion - 1 : 1;

// At offset 0. The one part that every version of this program, past or to
// come, can read: size and fields stay as they are.
struct HandoverHeader {
  uint64_t magic;    // kHandoverMagic; see there.
  uint32_t version;  // Of everything after this struct.

  // Of this struct with `magic` as it will be (kHandoverMagic) and this field
  // zero. So it can be written before the magic is.
  uint32_t header_crc32c;

  uint64_t total_size;  // Of the image, in bytes. What follows is free.
  uint64_t host_section_offset;  // The host section ends at total_size.
  uint8_t reserved[32];          // Written as zero, not looked at.
};
static_assert(sizeof(HandoverHeader) == 64);
static_assert(offsetof(HandoverHeader, version) == 8);
static_assert(offsetof(HandoverHeader, header_crc32c) == 12);
static_assert(offsetof(HandoverHeader, total_size) == 16);
static_assert(offsetof(HandoverHeader, host_section_offset) == 24);
static_assert(std::is_trivially_copyable_v<HandoverHeader>);

// Types with this bit are optional: a reader that does not know one skips it. A
// reader that meets an unknown type without it refuses the section.
inline constexpr uint32_t kOptionalRecordBit = uint32_t{1} << 31;

// What a record's body is. Numbers are never used again.
enum class RecordType : uint32_t {
  kInvalid = 0,       // Zeroed memory is no record.
  kHost = 1,          // HostRecord. First in the host section.
  kDirectory = 2,     // DirectoryEntry[], one for each VM.
  kVm = 3,            // VmRecord. First in a VM's section.
  kDeviceState = 4,   // QEMU's migration stream, as it came. One for each VM.
  kAuxiliaryRam = 5,  // AuxiliaryRam. One for each block that isn't in place.
  kEnd = 6,           // Empty. Last in every section.
  // Since version 2: AuthenticationHead, SectionDigest[], one for each VM. Last
  // in the host section before kEnd.
  kAuthentication = 7,
  kRamDigests = 8 | kOptionalRecordBit,  // RamDigests. At most one for each VM.
};

// Before each body. After it, zero bytes up to the next multiple of 8.
struct RecordHeader {
  uint32_t type;           // RecordType, maybe with kOptionalRecordBit.
  uint32_t reserved;       // Written as zero, not looked at.
  uint64_t body_size;      // In bytes, without the padding.
  uint32_t body_crc32c;    // Of the body and its padding.
  uint32_t header_crc32c;  // Of this struct with this field zero.
};
static_assert(sizeof(RecordHeader) == 24);
static_assert(offsetof(RecordHeader, body_size) == 8);
static_assert(offsetof(RecordHeader, body_crc32c) == 16);
static_assert(offsetof(RecordHeader, header_crc32c) == 20);
static_assert(std::is_trivially_copyable_v<RecordHeader>);

// One VM: where its section lies, and who it is even if the section is torn.
struct DirectoryEntry {
  uint64_t offset;  // Ascending over the directory; sections don't overlap.
  uint64_t size;    // From the kVm record to the end of kEnd.
  char uuid[40];    // As in its VmRecord; zero bytes to the end.
  char name[256];   // The same.
};
static_assert(sizeof(DirectoryEntry) == 312);
static_assert(offsetof(DirectoryEntry, size) == 8);
static_assert(offsetof(DirectoryEntry, uuid) == 16);
static_assert(offsetof(DirectoryEntry, name) == 56);
static_assert(std::is_trivially_copyable_v<DirectoryEntry>);

// How a kAuthentication record is made.
inline constexpr uint32_t kHmacSha256 = 1;

// The start of a kAuthentication record's body.
struct AuthenticationHead {
  uint32_t algorithm;  // kHmacSha256; a reader refuses any other.
  uint32_t reserved;   // Written as zero, not looked at.
  uint8_t key_id[8];   // Tells one key from another; see handover_key.h.
  uint8_t mac[32];     // Of what README.md says, under "Authentication".
};
static_assert(sizeof(AuthenticationHead) == 48);
static_assert(offsetof(AuthenticationHead, key_id) == 8);
static_assert(offsetof(AuthenticationHead, mac) == 16);
static_assert(std::is_trivially_copyable_v<AuthenticationHead>);

// After it, in the directory's order: SHA-256 of each VM's section.
struct SectionDigest {
  uint8_t sha256[32];

  friend bool operator==(const SectionDigest&, const SectionDigest&) = default;
};
static_assert(sizeof(SectionDigest) == 32);
static_assert(std::is_trivially_copyable_v<SectionDigest>);

// Cut-offs. Writers keep them and readers hold others to them, so that an image
// from anywhere is read in bounded time and memory.
inline constexpr uint64_t kMaxVms = 4096;
inline constexpr uint64_t kMaxDomainXmlBytes = 4 << 20;
inline constexpr uint64_t kMaxDeviceStateBytes = 64 << 20;    // Per VM.
inline constexpr uint64_t kMaxAuxiliaryRamBytes = 256 << 20;  // Per VM, bodies.
inline constexpr uint64_t kMaxAuxiliaryBlockBytes = 1 << 30;  // Per block.
inline constexpr uint64_t kMaxBlocksPerVm = 256;
inline constexpr uint64_t kMaxNameBytes = 255;     // VM's, block's.
inline constexpr uint64_t kMaxStringBytes = 1024;  // Any other string.
inline constexpr uint64_t kMaxHostRecordBytes = 4 << 20;
inline constexpr uint64_t kMaxVmRecordBytes = kMaxDomainXmlBytes + (1 << 20);
inline constexpr uint64_t kMaxRamDigestsBytes = 16 << 20;  // Per VM, body.
inline constexpr uint64_t kMaxRamDigests = 1 << 20;        // Per VM.
inline constexpr uint64_t kMinDigestChunkBytes = 4096;
inline constexpr uint64_t kMaxDigestChunkBytes = 1 << 30;
inline constexpr int kMaxMessageDepth = 8;  // Of protobuf messages in another.

static_assert(kMaxNameBytes < sizeof(DirectoryEntry::name));

// The values of the two `header_crc32c` fields.
uint32_t HeaderCrc32c(HandoverHeader header);
uint32_t HeaderCrc32c(RecordHeader header);

// `body_size` with its padding. For sizes up to the limits above.
constexpr uint64_t PaddedSize(uint64_t body_size) {
  return (body_size + 7) & ~uint64_t{7};
}

// A record of `body_size` bytes with its header and padding.
constexpr uint64_t RecordSize(uint64_t body_size) {
  return sizeof(RecordHeader) + PaddedSize(body_size);
}

}  // namespace live_update

#endif  // STATE_PRESERVE_FORMAT_H_
