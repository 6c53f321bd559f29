// What a kernel is told by whoever boots it: boot_params ("zero page"), command
// line, and what they point at (Documentation/arch/x86/boot.rst,
// zero-page.rst).

#ifndef LOADER_BOOT_PARAMS_H_
#define LOADER_BOOT_PARAMS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "loader/e820.h"
#include "loader/phys_range.h"

namespace live_update::loader {

inline constexpr uint64_t kPageBytes = 4096;

// One entry of EFI's map of memory that it uses at run time, as it was mapped:
// the next kernel has to map it the same.
struct EfiMemory {
  uint32_t type = 0;
  uint64_t physical = 0;
  uint64_t virtual_address = 0;
  uint64_t pages = 0;
  uint64_t attribute = 0;
};

// What an EFI firmware is found by once it was told to use virtual addresses,
// which can be done only once. Physical addresses.
struct EfiFacts {
  uint64_t vendor = 0;
  uint64_t config_table = 0;
  uint64_t smbios = 0;  // 0: none.
  std::vector<EfiMemory> runtime_map;
};

// What the running kernel was told by the firmware, and the next can't ask for
// again.
struct BootFacts {
  std::string boot_params;  // Its own: /sys/kernel/boot_params/data.
  uint64_t acpi_rsdp = 0;   // 0: ACPI's root is where a BIOS leaves it.
  std::optional<EfiFacts> efi;
};

// Everything of the kernel to go to.
struct BootInput {
  absl::string_view setup_header;
  absl::string_view command_line;
  absl::Span<const E820Range> e820;
  std::optional<PhysRange> initrd;
  uint64_t entry = 0;  // Of the kernel.
};

// Whole pages: boot_params, the trampoline that enters the kernel with them,
// the command line, EFI's map. How long they are depends on `facts` alone.
uint64_t BootPagesBytes(const BootFacts& facts);
inline constexpr uint64_t kTrampolineOffset = kPageBytes;  // In them.

// Made to lie at physical address `address`. kInvalidArgument: `facts` has no
// boot_params; kResourceExhausted: more than they have room for;
// kFailedPrecondition: the kernel does not take EFI over from another.
absl::StatusOr<std::string> MakeBootPages(const BootInput& input,
                                          const BootFacts& facts,
                                          uint64_t address);

}  // namespace live_update::loader

#endif  // LOADER_BOOT_PARAMS_H_
