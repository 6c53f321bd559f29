#include "loader/boot_facts.h"

#include <asm/bootparam.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace live_update::loader {
namespace {

// Firmware has some 20 of them.
constexpr int kMaxRuntimeMap = 1024;
constexpr uint64_t kMaxText = 64 << 10;

absl::StatusOr<std::string> ReadLine(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxText));
  return std::string(absl::StripAsciiWhitespace(text));
}

// "0x7f7ee000", the one line of a file.
absl::StatusOr<uint64_t> ReadHex(const std::string& path) {
  LU_ASSIGN_OR_RETURN(const std::string text, ReadLine(path));
  uint64_t number = 0;
  if (!absl::StartsWith(text, "0x") || !absl::SimpleHexAtoi(text, &number)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": no hexadecimal number"));
  }
  return number;
}

// Of the line "SMBIOS=0x9f5b000" among others; 0: there is none.
uint64_t FindAddress(absl::string_view text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    uint64_t address = 0;
    if (absl::ConsumePrefix(&line, name) && absl::ConsumePrefix(&line, "=") &&
        absl::SimpleHexAtoi(line, &address)) {
      return address;
    }
  }
  return 0;
}

absl::StatusOr<EfiMemory> ReadEfiMemory(const std::string& folder) {
  EfiMemory memory;
  LU_ASSIGN_OR_RETURN(const uint64_t type, ReadHex(folder + "/type"));
  memory.type = static_cast<uint32_t>(type);
  LU_ASSIGN_OR_RETURN(memory.physical, ReadHex(folder + "/phys_addr"));
  LU_ASSIGN_OR_RETURN(memory.virtual_address, ReadHex(folder + "/virt_addr"));
  LU_ASSIGN_OR_RETURN(memory.pages, ReadHex(folder + "/num_pages"));
  LU_ASSIGN_OR_RETURN(memory.attribute, ReadHex(folder + "/attribute"));
  return memory;
}

absl::StatusOr<EfiFacts> ReadEfi(const std::string& efi,
                                 absl::string_view systab) {
  EfiFacts facts;
  LU_ASSIGN_OR_RETURN(facts.vendor, ReadHex(efi + "/fw_vendor"));
  LU_ASSIGN_OR_RETURN(facts.config_table, ReadHex(efi + "/config_table"));
  facts.smbios = FindAddress(systab, "SMBIOS");
  for (int i = 0; i < kMaxRuntimeMap; ++i) {
    const std::string folder = absl::StrCat(efi, "/runtime-map/", i);
    if (access(folder.c_str(), F_OK) != 0) return facts;
    LU_ASSIGN_OR_RETURN(const EfiMemory memory, ReadEfiMemory(folder));
    facts.runtime_map.push_back(memory);
  }
  return absl::FailedPreconditionError(
      absl::StrCat(efi, "/runtime-map has more than ", kMaxRuntimeMap));
}

}  // namespace

absl::StatusOr<BootFacts> ReadBootFacts(const std::string& root) {
  BootFacts facts;
  const std::string path = root + "/sys/kernel/boot_params/data";
  LU_ASSIGN_OR_RETURN(facts.boot_params, ReadFile(path, kPageBytes));
  if (facts.boot_params.size() != kPageBytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": ", facts.boot_params.size(), " bytes, not ", kPageBytes));
  }
  boot_params running;
  std::memcpy(&running, facts.boot_params.data(), sizeof(running));
  facts.acpi_rsdp = running.acpi_rsdp_addr;

  const std::string efi = root + "/sys/firmware/efi";
  if (access(efi.c_str(), F_OK) != 0) return facts;
  LU_ASSIGN_OR_RETURN(const std::string systab,
                      ReadFile(efi + "/systab", kMaxText));
  for (const absl::string_view name : {"ACPI20", "ACPI"}) {
    if (facts.acpi_rsdp == 0) facts.acpi_rsdp = FindAddress(systab, name);
  }
  if (facts.acpi_rsdp == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(efi, "/systab does not tell where ACPI's root is"));
  }
  if (access((efi + "/runtime-map/0").c_str(), F_OK) != 0) return facts;
  absl::StatusOr<EfiFacts> told = ReadEfi(efi, systab);
  if (!told.ok()) {
    return absl::FailedPreconditionError(told.status().message());
  }
  facts.efi = *std::move(told);
  return facts;
}

bool UsesFiveLevelPaging(absl::string_view cpuinfo) {
  for (absl::string_view line : absl::StrSplit(cpuinfo, '\n')) {
    if (!absl::StartsWith(line, "flags")) continue;
    for (const absl::string_view word : absl::StrSplit(line, ' ')) {
      if (word == "la57") return true;
    }
    return false;  // All CPUs' are alike.
  }
  return false;
}

}  // namespace live_update::loader
