// A kernel as the loader's own jump puts it into memory and enters it, at its
// 64-bit entry point (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
//
//   vmlinux   the uncompressed kernel, from an ELF file or out of a bzImage. It
//             is unpacked here, while VMs run, and not by itself in the
//             blackout. It runs at the addresses that it is linked at, physical
//             and virtual: as if its command line said nokaslr.
//   bzImage   unpacks itself, and chooses random addresses (KASLR) as usual.
//
// kexec_load(2) checks no signature of either.

#ifndef LOADER_DIRECT_IMAGE_H_
#define LOADER_DIRECT_IMAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/kernel_image.h"
#include "loader/kexec.h"
#include "loader/load_plan.h"

namespace live_update::loader {

struct DirectImage {
  KernelNeeds needs;
  std::string contents;  // needs.file_bytes long.
};

// Makes one of `file`, whose header was read as `image`. kInvalidArgument:
// broken (with the numbers); kFailedPrecondition: it can't be entered that way;
// others as of Unpack().
absl::StatusOr<DirectImage> MakeDirectImage(absl::Span<const uint8_t> file,
                                            const KernelImage& image,
                                            DirectEntry entry);

}  // namespace live_update::loader

#endif  // LOADER_DIRECT_IMAGE_H_
