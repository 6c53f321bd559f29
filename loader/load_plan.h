// Where in physical memory the loader's own jump puts a kernel, its initrd and
// what it is told. Pure: no system calls.
//
//   0        1 MiB   16 MiB
//   |  left  |       | kernel | initrd | boot pages |  …  | memmap=1G!1G |  …
//
// Only System RAM of /proc/iomem is used: kexec_load(2) itself would overwrite
// anything. Nothing of it is below 1 MiB (the BIOS's and the CPUs' start), in a
// crash kernel's memory, or in what the caller says is not to be touched. All
// but a vmlinux lies above 16 MiB, for old devices can only reach below.

#ifndef LOADER_LOAD_PLAN_H_
#define LOADER_LOAD_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "loader/boot_params.h"
#include "loader/memory_map.h"
#include "loader/phys_range.h"

namespace live_update::loader {

// What of a kernel decides where it can lie, and what it is told.
struct KernelNeeds {
  uint64_t file_bytes = 0;    // Of its contents, from its first address on.
  uint64_t memory_bytes = 0;  // That it uses from there on. Not less.
  uint64_t lowest_address = 0;
  bool movable = false;    // It may also lie at a higher one,
  uint64_t alignment = 1;  // that is a multiple of this, a power of two.
  uint64_t entry_offset = 0;
  // Can be entered with 5-level page tables, which the CPU has to keep over the
  // jump.
  bool five_level_paging = false;
  uint64_t command_line_bytes = 0;  // Longest that it takes, without the NUL.
  // Of boot_params, from offset 0x1f1 on.
  std::string setup_header;
};

struct LoadInput {
  const KernelNeeds& kernel;
  uint64_t initrd_bytes = 0;  // 0: none.
  absl::string_view command_line;
  const MemoryMap& map;
  absl::Span<const PhysRange> untouched;
  const BootFacts& boot;
  bool five_level_paging = false;  // The CPU uses 5-level page tables.
};

// Ranges of whole pages, disjoint.
struct LoadPlan {
  PhysRange kernel;
  std::optional<PhysRange> initrd;
  PhysRange boot;
  std::string boot_pages;  // What lies in `boot`.
  uint64_t entry = 0;      // For kexec: the trampoline in `boot`.

  std::vector<PhysRange> Segments() const;
};

// kResourceExhausted: no place, with the numbers; kInvalidArgument: what
// `kernel` says can't be; kFailedPrecondition: this kernel can't be entered on
// this host, or what is not to be touched is not kept from the next kernel.
absl::StatusOr<LoadPlan> MakeLoadPlan(const LoadInput& input);

}  // namespace live_update::loader

#endif  // LOADER_LOAD_PLAN_H_
