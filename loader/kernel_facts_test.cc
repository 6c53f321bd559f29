#include "loader/kernel_facts.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/byte_reader.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

absl::StatusOr<KernelFacts> FactsOf(const std::string& file) {
  LU_ASSIGN_OR_RETURN(const KernelImage image, ReadKernelImage(AsBytes(file)));
  return ReadKernelFacts(AsBytes(file), image);
}

std::string Packed(const std::string& vmlinux) {
  TestBzImage image;
  image.payload = Gzip(vmlinux);
  return MakeBzImage(image);
}

TEST(KernelFactsTest, ReadsAWholeBzImage) {
  ASSERT_OK_AND_ASSIGN(const KernelFacts facts, FactsOf(MakeWholeKernel()));
  EXPECT_EQ(facts.release, kTestRelease);
  EXPECT_THAT(facts.banner, StartsWith("Linux version 6.1.0-56-cloud-amd64 ("));
  EXPECT_THAT(facts.banner, ::testing::EndsWith("Debian 6.1.1-1"));
  EXPECT_EQ(facts.build_id, kTestBuildId);
  EXPECT_EQ(facts.compression, "gzip");
}

TEST(KernelFactsTest, TakesTheBannerWithABuildNumber) {
  const std::string copy = "Linux version 6.1.0-56-cloud-amd64 (x) # SMP\n";
  ASSERT_OK_AND_ASSIGN(
      const KernelFacts facts,
      FactsOf(MakeElfKernel(absl::StrCat(copy, TestKernelContents()))));
  EXPECT_THAT(facts.banner, ::testing::EndsWith("#1 SMP Debian 6.1.1-1"));
  ASSERT_OK_AND_ASSIGN(const KernelFacts numberless,
                       FactsOf(MakeElfKernel(copy)));
  EXPECT_THAT(numberless.banner, ::testing::EndsWith("# SMP"));
}

TEST(KernelFactsTest, TellsWhatUnameWillPrint) {
  EXPECT_EQ(
      UnameOf(
          "Linux version 6.1.0-57-cloud-amd64 (debian-kernel@lists) (gcc-12 "
          "(Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils) 2.40) #1 SMP "
          "PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-11-01)"),
      "6.1.0-57-cloud-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 "
      "(2026-11-01)");
  EXPECT_EQ(UnameOf("Linux version 6.1.0 (a@b) (gcc) # SMP"), "");
  EXPECT_EQ(UnameOf("6.1.0 (a@b) (gcc) #1 SMP"), "");
  EXPECT_EQ(UnameOf(""), "");
}

TEST(KernelFactsTest, TakesOnlyWholeAbiStrings) {
  ASSERT_OK_AND_ASSIGN(const KernelFacts facts, FactsOf(MakeWholeKernel()));
  EXPECT_THAT(facts.abi_strings,
              ElementsAre("kho-v4", "luo-session-v2", "luo-v5", "memfd-v2"));
}

TEST(KernelFactsTest, ReadsAVmlinux) {
  ASSERT_OK_AND_ASSIGN(const KernelFacts facts,
                       FactsOf(MakeElfKernel(TestKernelContents())));
  EXPECT_EQ(facts.release, kTestRelease);
  EXPECT_THAT(facts.compression, IsEmpty());
}

TEST(KernelFactsTest, ReadsTheEmbeddedConfig) {
  const std::string config = "CONFIG_KVM=y\n";
  ASSERT_OK_AND_ASSIGN(
      const KernelFacts facts,
      FactsOf(Packed(MakeElfKernel(absl::StrCat(
          TestKernelContents(), "IKCFG_ST", Gzip(config), "IKCFG_ED")))));
  EXPECT_EQ(facts.embedded_config, config);
}

TEST(KernelFactsTest, RefusesAnElfFileThatIsNotLinux) {
  EXPECT_THAT(FactsOf(Packed(MakeElfKernel("Linux version %s (%s)\n"))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not a Linux kernel")));
}

TEST(KernelFactsTest, RefusesAPayloadThatIsNoElfFile) {
  EXPECT_THAT(FactsOf(Packed("something else")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("what the kernel unpacks to")));
}

TEST(KernelFactsTest, RefusesACorruptPayload) {
  std::string file = MakeWholeKernel();
  file[file.size() - 40] ^= 0x10;
  EXPECT_THAT(FactsOf(file), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(KernelConfigTest, TellsSetFromUnset) {
  ASSERT_OK_AND_ASSIGN(
      const KernelConfig config,
      KernelConfig::Parse("# comment\nCONFIG_KVM=m\n# CONFIG_X is not set\n"
                          "CONFIG_EXT4_FS=y\nCONFIG_NR_CPUS=512\n"));
  EXPECT_EQ(config.Get("KVM"), "m");
  EXPECT_TRUE(config.IsSet("KVM"));
  EXPECT_FALSE(config.IsBuiltIn("KVM"));
  EXPECT_TRUE(config.IsBuiltIn("EXT4_FS"));
  EXPECT_FALSE(config.IsSet("X"));
  EXPECT_EQ(config.Get("NR_CPUS"), "512");
}

TEST(KernelConfigTest, RefusesOtherText) {
  EXPECT_FALSE(KernelConfig::Parse("").ok());
  EXPECT_FALSE(KernelConfig::Parse("#!/bin/sh\n").ok());
  EXPECT_FALSE(KernelConfig::Parse("CONFIG_KVM\n").ok());
}

}  // namespace
}  // namespace live_update::loader
