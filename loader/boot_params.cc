#include "loader/boot_params.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "loader/trampoline.h"

namespace live_update::loader {
namespace {

static_assert(sizeof(boot_params) == kPageBytes);

constexpr uint64_t kCommandLineOffset = 2 * kPageBytes;
constexpr uint64_t kEfiOffset = 3 * kPageBytes;
constexpr uint8_t kUndefinedLoader = 0xff;        // type_of_loader, boot.rst
constexpr uint32_t kEfi64Signature = 0x34364c45;  // "EL64"

// As UEFI's EFI_MEMORY_DESCRIPTOR, version 1.
struct EfiMemoryDescriptor {
  uint32_t type;
  uint32_t pad;
  uint64_t physical;
  uint64_t virtual_address;
  uint64_t pages;
  uint64_t attribute;
};
static_assert(sizeof(EfiMemoryDescriptor) == 40);

// setup_data of type SETUP_EFI: struct efi_setup_data of arch/x86's asm/efi.h,
// there called an external ABI of kexec.
struct EfiSetupData {
  uint64_t next;
  uint32_t type;
  uint32_t length;  // Of what follows.
  uint64_t vendor;
  uint64_t unused;
  uint64_t config_table;
  uint64_t smbios;
  uint64_t reserved[8];
};
static_assert(sizeof(EfiSetupData) == 16 + 96);

uint32_t Low(uint64_t number) { return static_cast<uint32_t>(number); }
uint32_t High(uint64_t number) { return static_cast<uint32_t>(number >> 32); }

template <typename T>
std::string BytesOf(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

// The setup data, then the map.
std::string EfiBytes(const EfiFacts& efi) {
  std::string bytes = BytesOf(EfiSetupData{
      .next = 0,
      .type = SETUP_EFI,
      .length = sizeof(EfiSetupData) - offsetof(EfiSetupData, vendor),
      .vendor = efi.vendor,
      .config_table = efi.config_table,
      .smbios = efi.smbios});
  for (const EfiMemory& memory : efi.runtime_map) {
    bytes +=
        BytesOf(EfiMemoryDescriptor{.type = memory.type,
                                    .physical = memory.physical,
                                    .virtual_address = memory.virtual_address,
                                    .pages = memory.pages,
                                    .attribute = memory.attribute});
  }
  return bytes;
}

absl::Status SetEfi(const boot_params& running, const EfiFacts& efi,
                    uint64_t address, boot_params& params) {
  if (running.efi_info.efi_loader_signature != kEfi64Signature ||
      (params.hdr.xloadflags & XLF_EFI_KEXEC) == 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "this is an EFI host, and the kernel takes no EFI over from another "
        "one (xloadflags %#x, loader signature %#x)",
        static_cast<unsigned>(params.hdr.xloadflags),
        static_cast<unsigned>(running.efi_info.efi_loader_signature)));
  }
  const uint64_t map = address + sizeof(EfiSetupData);
  params.hdr.setup_data = address;
  params.efi_info = {.efi_loader_signature = kEfi64Signature,
                     .efi_systab = running.efi_info.efi_systab,
                     .efi_memdesc_size = sizeof(EfiMemoryDescriptor),
                     .efi_memdesc_version = 1,
                     .efi_memmap = Low(map),
                     .efi_memmap_size = static_cast<uint32_t>(
                         efi.runtime_map.size() * sizeof(EfiMemoryDescriptor)),
                     .efi_systab_hi = running.efi_info.efi_systab_hi,
                     .efi_memmap_hi = High(map)};
  params.secure_boot = running.secure_boot;
  return absl::OkStatus();
}

absl::Status SetE820(absl::Span<const E820Range> e820, boot_params& params) {
  if (e820.size() > E820_MAX_ENTRIES_ZEROPAGE) {
    return absl::ResourceExhaustedError(absl::StrCat(
        e820.size(), " ranges of memory; boot_params has room for ",
        E820_MAX_ENTRIES_ZEROPAGE));
  }
  params.e820_entries = static_cast<uint8_t>(e820.size());
  for (size_t i = 0; i < e820.size(); ++i) {
    params.e820_table[i] = {.addr = e820[i].range.start,
                            .size = e820[i].range.size_bytes,
                            .type = static_cast<uint32_t>(e820[i].type)};
  }
  return absl::OkStatus();
}

void SetInitrd(const PhysRange& initrd, boot_params& params) {
  params.hdr.ramdisk_image = Low(initrd.start);
  params.ext_ramdisk_image = High(initrd.start);
  params.hdr.ramdisk_size = Low(initrd.size_bytes);
  params.ext_ramdisk_size = High(initrd.size_bytes);
}

}  // namespace

uint64_t BootPagesBytes(const BootFacts& facts) {
  const uint64_t efi =
      facts.efi.has_value()
          ? sizeof(EfiSetupData) +
                facts.efi->runtime_map.size() * sizeof(EfiMemoryDescriptor)
          : 0;
  return kEfiOffset + (efi + kPageBytes - 1) / kPageBytes * kPageBytes;
}

absl::StatusOr<std::string> MakeBootPages(const BootInput& input,
                                          const BootFacts& facts,
                                          uint64_t address) {
  if (facts.boot_params.size() != sizeof(boot_params)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the running kernel's boot_params have ",
                     facts.boot_params.size(), " bytes, not 4096"));
  }
  if (input.command_line.size() >= kPageBytes ||
      input.setup_header.size() > sizeof(setup_header)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a command line of ", input.command_line.size(),
        " and a setup header of ", input.setup_header.size(), " bytes"));
  }
  boot_params running;
  std::memcpy(&running, facts.boot_params.data(), sizeof(running));

  // All zero but for what is said here: a sentinel of 0 says that we mean it.
  boot_params params{};
  std::memcpy(&params.hdr, input.setup_header.data(),
              input.setup_header.size());
  params.hdr.type_of_loader = kUndefinedLoader;
  params.hdr.ext_loader_type = 0;
  params.hdr.ext_loader_ver = 0;
  params.hdr.setup_data = 0;
  params.hdr.hardware_subarch = running.hdr.hardware_subarch;
  params.screen_info = running.screen_info;
  params.screen_info.ext_mem_k = 0;  // Of a BIOS; e820 says it.
  params.acpi_rsdp_addr = facts.acpi_rsdp;
  params.hdr.cmd_line_ptr = Low(address + kCommandLineOffset);
  params.ext_cmd_line_ptr = High(address + kCommandLineOffset);
  if (input.initrd.has_value()) SetInitrd(*input.initrd, params);
  LU_RETURN_IF_ERROR(SetE820(input.e820, params));
  if (facts.efi.has_value()) {
    LU_RETURN_IF_ERROR(
        SetEfi(running, *facts.efi, address + kEfiOffset, params));
  }

  std::string pages = BytesOf(params);
  pages += MakeTrampoline(address, input.entry);
  absl::StrAppend(&pages, input.command_line);
  pages.resize(kEfiOffset);
  if (facts.efi.has_value()) pages += EfiBytes(*facts.efi);
  pages.resize(BootPagesBytes(facts));
  return pages;
}

}  // namespace live_update::loader
