#include "loader/direct_image.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "loader/byte_reader.h"
#include "loader/command_line.h"
#include "loader/payload.h"

namespace live_update::loader {
namespace {

constexpr uint64_t kSetupHeader = offsetof(boot_params, hdr);  // 0x1f1
constexpr uint64_t kHeaderLength = 0x201;  // Of what follows 0x202, a byte.
constexpr uint64_t kBzImageEntry = 0x200;  // startup_64, boot.rst
// A vmlinux whose first byte is not so aligned does not start: it maps itself
// with pages of this size.
constexpr uint64_t kLargePage = uint64_t{2} << 20;
// Highest end of a kernel; a distribution's needs 60 to 100 MiB.
constexpr uint64_t kMaxKernelMemory = uint64_t{1} << 30;

// The header as the file has it, up to the end that it names itself. What is
// beyond our struct is of a newer protocol, and optional.
absl::StatusOr<setup_header> ReadSetupHeader(absl::Span<const uint8_t> file) {
  const uint64_t end =
      kHeaderLength + 1 + NumberAt<uint8_t>(file, kHeaderLength);
  const uint64_t size =
      std::min<uint64_t>(end - kSetupHeader, sizeof(setup_header));
  LU_ASSIGN_OR_RETURN(const auto bytes, BytesAt(file, kSetupHeader, size));
  setup_header header{};
  std::memcpy(&header, bytes.data(), bytes.size());
  return header;
}

// Of a vmlinux that comes without one: what a kernel reads of it.
setup_header MinimalSetupHeader() {
  setup_header header{};
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;  // "HdrS"
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.cmdline_size = kMaxCommandLineBytes;
  return header;
}

std::string Bytes(const setup_header& header) {
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header));
}

absl::Status CheckDisjoint(std::vector<ElfSegment> segments) {
  std::sort(segments.begin(), segments.end(),
            [](const ElfSegment& a, const ElfSegment& b) {
              return a.memory.start < b.memory.start;
            });
  for (size_t i = 1; i < segments.size(); ++i) {
    if (!segments[i - 1].memory.Overlaps(segments[i].memory)) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "segments overlap in memory: %s and %s",
        segments[i - 1].memory.ToString(), segments[i].memory.ToString()));
  }
  return absl::OkStatus();
}

// All segments as one, with the gaps between them: they share pages, and
// kexec_load(2) takes 16 at most.
absl::StatusOr<DirectImage> FromVmlinux(absl::Span<const uint8_t> file,
                                        const ElfKernel& elf) {
  if (elf.architecture != "x86-64") {
    return absl::FailedPreconditionError(
        absl::StrFormat("a vmlinux for %s", elf.architecture));
  }
  LU_RETURN_IF_ERROR(CheckDisjoint(elf.segments));
  uint64_t start = UINT64_MAX;
  uint64_t file_end = 0;
  uint64_t end = 0;
  for (const ElfSegment& segment : elf.segments) {
    start = std::min(start, segment.memory.start);
    end = std::max(end, segment.memory.end());
    file_end = std::max(file_end, segment.memory.start + segment.file_bytes);
  }
  if (start % kLargePage != 0 || end - start > kMaxKernelMemory ||
      file_end <= start) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a kernel from %#x to %#x: it must start at a multiple of %#x, be no "
        "longer than %#x and not be empty",
        start, end, kLargePage, kMaxKernelMemory));
  }
  DirectImage image;
  image.contents.resize(file_end - start);
  bool has_entry = false;
  for (const ElfSegment& segment : elf.segments) {
    LU_ASSIGN_OR_RETURN(const auto bytes,
                        BytesAt(file, segment.file_offset, segment.file_bytes));
    std::copy(bytes.begin(), bytes.end(),
              image.contents.begin() +
                  static_cast<ptrdiff_t>(segment.memory.start - start));
    has_entry |= elf.entry >= segment.memory.start &&
                 elf.entry - segment.memory.start < segment.file_bytes;
  }
  if (!has_entry) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "its entry point %#x lies in no segment (they are in %#x to %#x)",
        elf.entry, start, file_end));
  }
  image.needs = {.file_bytes = image.contents.size(),
                 .memory_bytes = end - start,
                 .lowest_address = start,
                 .alignment = kLargePage,
                 .entry_offset = elf.entry - start,
                 .command_line_bytes = kMaxCommandLineBytes,
                 .setup_header = Bytes(MinimalSetupHeader())};
  return image;
}

absl::StatusOr<DirectImage> FromBzImage(absl::Span<const uint8_t> file,
                                        const BzImage& bzimage,
                                        const setup_header& header) {
  const uint64_t alignment = header.kernel_alignment;
  if (!bzimage.relocatable || !std::has_single_bit(alignment) ||
      alignment > kMaxKernelMemory || bzimage.init_bytes > kMaxKernelMemory ||
      bzimage.kernel_bytes <= kBzImageEntry) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a kernel of %#x bytes that needs %#x, %srelocatable, aligned to %#x: "
        "not what can be placed",
        bzimage.kernel_bytes, bzimage.init_bytes,
        bzimage.relocatable ? "" : "not ", alignment));
  }
  LU_ASSIGN_OR_RETURN(const auto kernel,
                      BytesAt(file, bzimage.setup_bytes, bzimage.kernel_bytes));
  DirectImage image;
  image.contents = std::string(AsText(kernel));
  image.needs = {
      .file_bytes = bzimage.kernel_bytes,
      .memory_bytes =
          std::max<uint64_t>(bzimage.init_bytes, bzimage.kernel_bytes),
      // From below it moves itself there, and beyond what was kept for it.
      .lowest_address = bzimage.preferred_address,
      .movable = true,
      .alignment = alignment,
      .entry_offset = kBzImageEntry};
  return image;
}

absl::StatusOr<DirectImage> FromPayload(absl::Span<const uint8_t> file,
                                        const BzImage& bzimage) {
  LU_ASSIGN_OR_RETURN(const auto payload, BytesAt(file, bzimage.payload_offset,
                                                  bzimage.payload_bytes));
  LU_ASSIGN_OR_RETURN(const std::string vmlinux, Unpack(payload));
  absl::StatusOr<ElfKernel> elf = ReadElfKernel(AsBytes(vmlinux));
  if (!elf.ok()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the kernel in the bzImage: %s", elf.status().message()));
  }
  return FromVmlinux(AsBytes(vmlinux), *elf);
}

}  // namespace

absl::StatusOr<DirectImage> MakeDirectImage(absl::Span<const uint8_t> file,
                                            const KernelImage& image,
                                            DirectEntry entry) {
  if (image.elf.has_value()) {
    if (entry == DirectEntry::kBzImage) {
      return absl::FailedPreconditionError(
          "a vmlinux can't be entered as a bzImage");
    }
    return FromVmlinux(file, *image.elf);
  }
  if (!image.bzimage.has_value()) {
    return absl::InternalError("a kernel image of no format");
  }
  // Also of the one inside: what can't be loaded above 4 GiB can't move.
  LU_RETURN_IF_ERROR(CheckLoadable(*image.bzimage, 0));
  LU_ASSIGN_OR_RETURN(const setup_header header, ReadSetupHeader(file));
  absl::StatusOr<DirectImage> direct =
      entry == DirectEntry::kBzImage ? FromBzImage(file, *image.bzimage, header)
                                     : FromPayload(file, *image.bzimage);
  if (!direct.ok()) return direct;
  direct->needs.five_level_paging = image.bzimage->five_level_paging;
  direct->needs.command_line_bytes = image.bzimage->command_line_bytes;
  direct->needs.setup_header = Bytes(header);
  return direct;
}

}  // namespace live_update::loader
