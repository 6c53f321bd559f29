#include "loader/boot_facts.h"

#include <asm/bootparam.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

class BootFactsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const boot_params running{.acpi_rsdp_addr = 0};
    Write(
        "/sys/kernel/boot_params/data",
        std::string(reinterpret_cast<const char*>(&running), sizeof(running)));
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void WriteEfi() {
    Write("/sys/firmware/efi/systab",
          "ACPI20=0x7f77e014\nACPI=0x7f77e000\nSMBIOS=0x7f5cc000\n");
    Write("/sys/firmware/efi/fw_vendor", "0x7f9eda98\n");
    Write("/sys/firmware/efi/config_table", "0x7f9ede18\n");
  }
  void WriteRuntimeMap(const std::string& number) {
    const std::string folder = "/sys/firmware/efi/runtime-map/" + number;
    Write(folder + "/type", "0x5\n");
    Write(folder + "/phys_addr", "0x7f500000\n");
    Write(folder + "/virt_addr", "0xfffffffefe600000\n");
    Write(folder + "/num_pages", "0x30\n");
    Write(folder + "/attribute", "0x800000000000000f\n");
  }

  const std::string root_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(BootFactsTest, OfABiosHost) {
  ASSERT_OK_AND_ASSIGN(const BootFacts facts, ReadBootFacts(root_));
  EXPECT_EQ(facts.boot_params.size(), 4096u);
  EXPECT_EQ(facts.acpi_rsdp, 0u);
  EXPECT_FALSE(facts.efi.has_value());
}

TEST_F(BootFactsTest, OfAnEfiHost) {
  WriteEfi();
  WriteRuntimeMap("0");
  WriteRuntimeMap("1");
  ASSERT_OK_AND_ASSIGN(const BootFacts facts, ReadBootFacts(root_));
  EXPECT_EQ(facts.acpi_rsdp, 0x7f77e014u);
  ASSERT_TRUE(facts.efi.has_value());
  EXPECT_EQ(facts.efi->vendor, 0x7f9eda98u);
  EXPECT_EQ(facts.efi->config_table, 0x7f9ede18u);
  EXPECT_EQ(facts.efi->smbios, 0x7f5cc000u);
  ASSERT_EQ(facts.efi->runtime_map.size(), 2u);
  EXPECT_EQ(facts.efi->runtime_map[1].type, 5u);
  EXPECT_EQ(facts.efi->runtime_map[1].virtual_address, 0xfffffffefe600000u);
  EXPECT_EQ(facts.efi->runtime_map[1].attribute, 0x800000000000000fu);
}

TEST_F(BootFactsTest, OfAnEfiHostThatUsesNoneAtRunTime) {
  WriteEfi();
  ASSERT_OK_AND_ASSIGN(const BootFacts facts, ReadBootFacts(root_));
  EXPECT_EQ(facts.acpi_rsdp, 0x7f77e014u);
  EXPECT_FALSE(facts.efi.has_value());
}

TEST_F(BootFactsTest, NameTheFileThatIsMissing) {
  WriteEfi();
  WriteRuntimeMap("0");
  std::filesystem::remove(root_ + "/sys/firmware/efi/runtime-map/0/type");
  EXPECT_THAT(ReadBootFacts(root_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("runtime-map/0/type")));
}

TEST_F(BootFactsTest, WithoutTheRootOfAcpiAreRefused) {
  Write("/sys/firmware/efi/systab", "SMBIOS=0x7f5cc000\n");
  EXPECT_THAT(
      ReadBootFacts(root_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ACPI")));
}

TEST(FiveLevelPagingTest, IsAFlagOfTheCpu) {
  EXPECT_TRUE(UsesFiveLevelPaging("processor : 0\nflags\t\t: fpu la57 vme\n"));
  EXPECT_FALSE(UsesFiveLevelPaging("processor : 0\nflags\t\t: fpu vme\n"));
  EXPECT_FALSE(UsesFiveLevelPaging("bugs : la57\n"));
}

}  // namespace
}  // namespace live_update::loader
