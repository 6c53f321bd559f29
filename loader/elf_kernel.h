// A vmlinux: the uncompressed kernel as an ELF executable. kexec_file_load(2)
// of x86 does not take it, only the loader's own jump does (direct_kexec.h). It
// is what a bzImage's payload unpacks to.

#ifndef LOADER_ELF_KERNEL_H_
#define LOADER_ELF_KERNEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// One PT_LOAD segment, its file part checked to lie in the file.
struct ElfSegment {
  uint64_t file_offset = 0;
  uint64_t file_bytes = 0;
  PhysRange memory;  // Physical. At least `file_bytes` long.
};

// One PT_NOTE segment, checked likewise.
struct ElfNotes {
  uint64_t file_offset = 0;
  uint64_t file_bytes = 0;
};

struct ElfKernel {
  std::string architecture;  // "x86-64", "aarch64", … or "ELF machine 243".
  uint64_t entry = 0;        // Physical, in an x86-64 kernel; not checked.
  std::vector<ElfSegment> segments;
  std::vector<ElfNotes> notes;
  std::string build_id;  // Lower-case hexadecimal; empty if there is none.
};

// kNotFound: not an ELF file (try another format). kInvalidArgument: one that
// is broken, truncated or no executable; the message has the file offset.
// Segments overlap in the file no more than a kernel's do: all together they
// are no longer than it.
absl::StatusOr<ElfKernel> ReadElfKernel(absl::Span<const uint8_t> file);

// The GNU build id among the ELF notes in `notes` (a PT_NOTE segment, or
// /sys/kernel/notes), in lower-case hexadecimal; "" if there is none.
std::string GnuBuildId(absl::Span<const uint8_t> notes);

}  // namespace live_update::loader

#endif  // LOADER_ELF_KERNEL_H_
