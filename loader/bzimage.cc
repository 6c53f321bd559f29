#include "loader/bzimage.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "loader/byte_reader.h"

namespace live_update::loader {
namespace {

// Offsets in the file, named as boot.rst names the fields.
constexpr uint64_t kSetupSects = 0x1f1;
constexpr uint64_t kSyssize = 0x1f4;
constexpr uint64_t kBootFlag = 0x1fe;
constexpr uint64_t kJump = 0x200;
constexpr uint64_t kHeader = 0x202;
constexpr uint64_t kVersion = 0x206;
constexpr uint64_t kKernelVersion = 0x20e;
constexpr uint64_t kLoadflags = 0x211;
constexpr uint64_t kRelocatableKernel = 0x234;
constexpr uint64_t kXloadflags = 0x236;
constexpr uint64_t kCmdlineSize = 0x238;
constexpr uint64_t kPayloadOffset = 0x248;
constexpr uint64_t kPayloadLength = 0x24c;
constexpr uint64_t kPrefAddress = 0x258;
constexpr uint64_t kInitSize = 0x260;
constexpr uint64_t kHeaderEnd = 0x264;

constexpr uint64_t kSector = 512;
constexpr size_t kMaxVersionString = 512;
constexpr uint16_t kOldestProtocol = 0x0208;  // Payload offset and length.
constexpr uint16_t kXloadflagsProtocol = 0x020c;

constexpr uint8_t kLoadedHigh = 1 << 0;
constexpr uint16_t kXlfKernel64 = 1 << 0;
constexpr uint16_t kXlfCanBeLoadedAbove4G = 1 << 1;
constexpr uint16_t kXlf5Level = 1 << 5;

// The string that the header points at, up to its NUL; unprintable characters
// become '?', for it goes to terminals.
absl::StatusOr<std::string> ReadVersion(absl::Span<const uint8_t> file,
                                        uint64_t setup_bytes) {
  const uint16_t pointer = NumberAt<uint16_t>(file, kKernelVersion);
  if (pointer == 0) return std::string();
  const uint64_t offset = uint64_t{pointer} + kJump;
  if (offset >= setup_bytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the version string is at %#x, beyond the setup code of %#x bytes",
        offset, setup_bytes));
  }
  const absl::Span<const uint8_t> text = file.subspan(
      offset, std::min<uint64_t>(setup_bytes - offset, kMaxVersionString));
  const auto end = std::find(text.begin(), text.end(), 0);
  if (end == text.end()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the version string at %#x does not end", offset));
  }
  std::string version(text.begin(), end);
  std::replace_if(
      version.begin(), version.end(),
      [](char c) { return !absl::ascii_isprint(c); }, '?');
  return version;
}

bool HasMagic(absl::Span<const uint8_t> file) {
  constexpr char kMagic[] = {'H', 'd', 'r', 'S'};
  return file.size() >= kHeader + sizeof(kMagic) &&
         std::memcmp(file.data() + kHeader, kMagic, sizeof(kMagic)) == 0;
}

}  // namespace

absl::StatusOr<BzImage> ReadBzImage(absl::Span<const uint8_t> file) {
  if (!HasMagic(file)) {
    return absl::NotFoundError("no \"HdrS\" at offset 0x202");
  }
  if (file.size() < kHeaderEnd) {
    return absl::InvalidArgumentError(
        absl::StrFormat("truncated in the setup header: %d bytes, the header "
                        "ends at %#x",
                        file.size(), kHeaderEnd));
  }
  const uint16_t boot_flag = NumberAt<uint16_t>(file, kBootFlag);
  if (boot_flag != 0xaa55) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "boot flag at offset %#x is %#x, not 0xaa55", kBootFlag, boot_flag));
  }
  BzImage image;
  image.protocol = NumberAt<uint16_t>(file, kVersion);
  if (image.protocol < kOldestProtocol) {
    return absl::UnimplementedError(absl::StrFormat(
        "boot protocol %d.%02d; 2.08 is the oldest that is read",
        image.protocol >> 8, image.protocol & 0xff));
  }

  const uint8_t setup_sectors = NumberAt<uint8_t>(file, kSetupSects);
  image.setup_bytes =
      kSector * (1 + uint64_t{setup_sectors == 0 ? uint8_t{4} : setup_sectors});
  image.kernel_bytes = uint64_t{NumberAt<uint32_t>(file, kSyssize)} * 16;
  if (image.kernel_bytes == 0 || image.setup_bytes > file.size() ||
      image.kernel_bytes > file.size() - image.setup_bytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "truncated at offset %#x: the header tells of %#x bytes of setup and "
        "%#x of kernel",
        file.size(), image.setup_bytes, image.kernel_bytes));
  }
  const uint64_t payload = NumberAt<uint32_t>(file, kPayloadOffset);
  image.payload_bytes = NumberAt<uint32_t>(file, kPayloadLength);
  if (image.payload_bytes == 0 || payload > image.kernel_bytes ||
      image.payload_bytes > image.kernel_bytes - payload) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the compressed kernel, %#x bytes at offset %#x, does not lie in the "
        "kernel's %#x bytes",
        image.payload_bytes, image.setup_bytes + payload, image.kernel_bytes));
  }
  image.payload_offset = image.setup_bytes + payload;
  LU_ASSIGN_OR_RETURN(image.version, ReadVersion(file, image.setup_bytes));

  image.loaded_high = NumberAt<uint8_t>(file, kLoadflags) & kLoadedHigh;
  image.relocatable = NumberAt<uint8_t>(file, kRelocatableKernel) != 0;
  image.command_line_bytes = NumberAt<uint32_t>(file, kCmdlineSize);
  if (image.protocol >= 0x020a) {
    image.preferred_address = NumberAt<uint64_t>(file, kPrefAddress);
    image.init_bytes = NumberAt<uint32_t>(file, kInitSize);
  }
  if (image.protocol >= kXloadflagsProtocol) {
    const uint16_t flags = NumberAt<uint16_t>(file, kXloadflags);
    image.is_64_bit = flags & kXlfKernel64;
    image.loadable_above_4g = flags & kXlfCanBeLoadedAbove4G;
    image.five_level_paging = flags & kXlf5Level;
  }
  return image;
}

absl::Status CheckLoadable(const BzImage& image, uint64_t command_line_bytes) {
  if (!image.is_64_bit) {
    return absl::FailedPreconditionError("not a 64-bit kernel");
  }
  if (!image.loaded_high) {
    return absl::FailedPreconditionError("a zImage, loaded below 1 MiB");
  }
  if (!image.loadable_above_4g) {
    return absl::FailedPreconditionError(
        "can't be loaded above 4 GiB (XLF_CAN_BE_LOADED_ABOVE_4G is not set; "
        "CONFIG_RELOCATABLE is needed)");
  }
  if (command_line_bytes > image.command_line_bytes) {
    return absl::FailedPreconditionError(
        absl::StrCat("takes a command line of ", image.command_line_bytes,
                     " characters; it would get ", command_line_bytes));
  }
  return absl::OkStatus();
}

}  // namespace live_update::loader
