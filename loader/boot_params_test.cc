#include "loader/boot_params.h"

#include <asm/bootparam.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kAddress = 0x112345000;

BootFacts BiosHost() {
  boot_params running{};
  running.screen_info.orig_video_lines = 25;
  return {.boot_params = std::string(reinterpret_cast<const char*>(&running),
                                     sizeof(running))};
}

BootFacts EfiHost() {
  boot_params running{};
  running.efi_info.efi_loader_signature = 0x34364c45;  // "EL64"
  running.efi_info.efi_systab = 0x7f5ec018;
  BootFacts facts = {
      .boot_params =
          std::string(reinterpret_cast<const char*>(&running), sizeof(running)),
      .acpi_rsdp = 0x7f77e014};
  facts.efi = EfiFacts{.vendor = 1, .config_table = 2, .smbios = 3};
  facts.efi->runtime_map.push_back({.type = 5,
                                    .physical = 0x7e000000,
                                    .virtual_address = 0xffffffefff000000,
                                    .pages = 4,
                                    .attribute = 15});
  return facts;
}

setup_header Header(uint16_t xloadflags) {
  setup_header header{};
  header.boot_flag = 0xaa55;
  header.xloadflags = xloadflags;
  header.setup_data = 0xbad;  // Of another boot.
  return header;
}

boot_params ParamsIn(const std::string& pages) {
  boot_params params;
  std::memcpy(&params, pages.data(), sizeof(params));
  return params;
}

class BootPagesTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Make(const BootFacts& facts) const {
    return MakeBootPages(
        {.setup_header = {reinterpret_cast<const char*>(&header_),
                          sizeof(header_)},
         .command_line = "console=ttyS0 memmap=1G!1G",
         .e820 = e820_,
         .initrd = PhysRange{.start = 0x123456000, .size_bytes = 0x1abcd},
         .entry = 0x1000000},
        facts, kAddress);
  }

  setup_header header_ = Header(XLF_EFI_KEXEC);
  std::vector<E820Range> e820_ = {
      {{.start = 0, .size_bytes = 0x9f000}, E820Type::kRam},
      {{.start = 0x40000000, .size_bytes = 0x40000000},
       E820Type::kPersistentLegacy}};
};

TEST_F(BootPagesTest, TellTheKernelWhatItNeeds) {
  ASSERT_OK_AND_ASSIGN(const std::string pages, Make(BiosHost()));
  EXPECT_EQ(pages.size(), BootPagesBytes(BiosHost()));
  const boot_params params = ParamsIn(pages);
  EXPECT_EQ(params.sentinel, 0);
  EXPECT_EQ(params.hdr.boot_flag, 0xaa55);
  EXPECT_EQ(params.hdr.setup_data, 0u);
  EXPECT_EQ(params.screen_info.orig_video_lines, 25);
  EXPECT_EQ(params.hdr.ramdisk_image, 0x23456000u);
  EXPECT_EQ(params.ext_ramdisk_image, 1u);
  EXPECT_EQ(params.hdr.ramdisk_size, 0x1abcdu);
  EXPECT_EQ(params.efi_info.efi_memmap_size, 0u);
  ASSERT_EQ(params.e820_entries, 2);
  EXPECT_EQ(uint64_t{params.e820_table[1].addr}, 0x40000000u);
  EXPECT_EQ(uint64_t{params.e820_table[1].size}, 0x40000000u);
  EXPECT_EQ(uint32_t{params.e820_table[1].type}, 12u);

  const uint64_t command_line =
      (uint64_t{params.ext_cmd_line_ptr} << 32) + params.hdr.cmd_line_ptr;
  EXPECT_STREQ(pages.data() + (command_line - kAddress),
               "console=ttyS0 memmap=1G!1G");
}

TEST_F(BootPagesTest, TheTrampolineKnowsWhereToGo) {
  ASSERT_OK_AND_ASSIGN(const std::string pages, Make(BiosHost()));
  const std::string trampoline = pages.substr(kTrampolineOffset, kPageBytes);
  EXPECT_EQ(trampoline.substr(0, 2), "\xfa\xfc");  // cli, cld
  const uint64_t addresses[] = {kAddress, 0x1000000};
  EXPECT_THAT(trampoline,
              HasSubstr(std::string(reinterpret_cast<const char*>(addresses),
                                    sizeof(addresses))));
}

TEST_F(BootPagesTest, HandEfiOver) {
  ASSERT_OK_AND_ASSIGN(const std::string pages, Make(EfiHost()));
  EXPECT_EQ(pages.size(), BootPagesBytes(EfiHost()));
  const boot_params params = ParamsIn(pages);
  EXPECT_EQ(params.acpi_rsdp_addr, 0x7f77e014u);
  EXPECT_EQ(params.efi_info.efi_systab, 0x7f5ec018u);
  EXPECT_EQ(params.efi_info.efi_memdesc_size, 40u);
  EXPECT_EQ(params.efi_info.efi_memmap_size, 40u);
  const uint64_t map = (uint64_t{params.efi_info.efi_memmap_hi} << 32) +
                       params.efi_info.efi_memmap;
  uint64_t physical = 0;
  std::memcpy(&physical, pages.data() + (map - kAddress) + 8, 8);
  EXPECT_EQ(physical, 0x7e000000u);
  setup_data data;
  std::memcpy(&data, pages.data() + (params.hdr.setup_data - kAddress),
              sizeof(data));
  EXPECT_EQ(data.next, 0u);
  EXPECT_EQ(data.type, uint32_t{SETUP_EFI});
  EXPECT_EQ(data.len, 96u);
}

TEST_F(BootPagesTest, RefuseAKernelThatTakesNoEfiOver) {
  header_ = Header(0);
  EXPECT_THAT(Make(EfiHost()), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("xloadflags 0")));
  EXPECT_THAT(Make(BiosHost()), IsOk());
}

TEST_F(BootPagesTest, RefuseMoreRangesThanThereIsRoomFor) {
  e820_.resize(129);
  EXPECT_THAT(Make(BiosHost()), StatusIs(absl::StatusCode::kResourceExhausted,
                                         HasSubstr("129 ranges")));
}

TEST_F(BootPagesTest, RefuseBootParamsThatAreNone) {
  BootFacts facts = BiosHost();
  facts.boot_params.pop_back();
  EXPECT_THAT(Make(facts), StatusIs(absl::StatusCode::kInvalidArgument,
                                    HasSubstr("4095 bytes")));
}

}  // namespace
}  // namespace live_update::loader
