// A kernel file, whichever of the known formats it has. It is read whole, once,
// from the descriptor that will be staged: what was checked is what is loaded.

#ifndef LOADER_KERNEL_IMAGE_H_
#define LOADER_KERNEL_IMAGE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/bzimage.h"
#include "loader/elf_kernel.h"

namespace live_update::loader {

// Exactly one of `bzimage` and `elf` is set.
struct KernelImage {
  std::optional<BzImage> bzimage;
  std::optional<ElfKernel> elf;
  uint64_t file_bytes = 0;

  std::string architecture() const;
  // "bzImage" or "vmlinux (ELF)".
  std::string format() const;
  // As `uname -r` will say: "6.1.0-56-cloud-amd64". Empty if the file's header
  // does not tell (ELF).
  std::string release() const;
};

// Tries each format. kInvalidArgument: none of them (with what it looks like),
// or one that is broken or truncated, with the file offset.
// kFailedPrecondition: a kernel of another architecture, whose format is not
// read.
absl::StatusOr<KernelImage> ReadKernelImage(absl::Span<const uint8_t> file);

// Whether kexec_file_load(2) takes `image` on an x86-64 host, with a command
// line of that many characters. kFailedPrecondition: why not, and what to give.
absl::Status CheckLoadable(const KernelImage& image,
                           uint64_t command_line_bytes);

}  // namespace live_update::loader

#endif  // LOADER_KERNEL_IMAGE_H_
