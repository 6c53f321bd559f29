// The x86 boot protocol's kernel file: a setup header, real-mode code and the
// compressed kernel (Documentation/arch/x86/boot.rst).

#ifndef LOADER_BZIMAGE_H_
#define LOADER_BZIMAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace live_update::loader {

// What the setup header says, checked against the file it stands in.
struct BzImage {
  uint16_t protocol = 0;  // 0x020f is 2.15.
  std::string version;  // "6.1.0-56-cloud-amd64 (debian-kernel@…) #1 SMP …"

  bool is_64_bit = false;  // Has a 64-bit entry point.
  bool loadable_above_4g = false;
  bool loaded_high = false;        // Not a zImage of old.
  bool five_level_paging = false;  // Can be entered with 5-level page tables.
  bool relocatable = false;
  uint32_t command_line_bytes = 0;  // Longest that it takes, without the NUL.

  uint64_t setup_bytes = 0;     // Boot sector and real-mode code.
  uint64_t kernel_bytes = 0;    // Protected-mode code, after the setup.
  uint64_t payload_offset = 0;  // In the file, of the compressed kernel.
  uint64_t payload_bytes = 0;
  uint64_t init_bytes = 0;         // Memory it needs while it unpacks itself.
  uint64_t preferred_address = 0;  // Physical.
};

// Reads the header of `file`, all the bytes of a kernel file.
// kNotFound: not such a file (try another format). kInvalidArgument: such a
// file, but broken or truncated; the message has the file offset.
// kUnimplemented: a boot protocol older than 2.08, of kernels before 2.6.26.
absl::StatusOr<BzImage> ReadBzImage(absl::Span<const uint8_t> file);

// Whether kexec_file_load(2) of an x86-64 kernel takes such a file with a
// command line of `command_line_bytes` characters; the kernel's own rules
// (kexec-bzimage64.c), told before it says ENOEXEC. kFailedPrecondition: no.
absl::Status CheckLoadable(const BzImage& image, uint64_t command_line_bytes);

}  // namespace live_update::loader

#endif  // LOADER_BZIMAGE_H_
