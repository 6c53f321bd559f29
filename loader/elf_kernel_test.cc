#include "loader/elf_kernel.h"

#include <elf.h>

#include <cstddef>
#include <string>

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
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr size_t kFirstProgramHeader = sizeof(Elf64_Ehdr);

TEST(ElfKernelTest, TellsSegmentsAndBuildId) {
  ASSERT_OK_AND_ASSIGN(const ElfKernel kernel,
                       ReadElfKernel(AsBytes(MakeElfKernel("contents"))));
  EXPECT_EQ(kernel.architecture, "x86-64");
  EXPECT_EQ(kernel.build_id, kTestBuildId);
  EXPECT_EQ(kernel.entry, 0x1000000u);
  ASSERT_THAT(kernel.segments, SizeIs(1));
  EXPECT_EQ(kernel.segments[0].file_bytes, 8u);
  EXPECT_EQ(kernel.segments[0].memory,
            (PhysRange{.start = 0x1000000, .size_bytes = 0x1008}));
}

TEST(ElfKernelTest, TellsAnotherArchitecture) {
  std::string file = MakeElfKernel("contents");
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
  ASSERT_OK_AND_ASSIGN(const ElfKernel kernel, ReadElfKernel(AsBytes(file)));
  EXPECT_EQ(kernel.architecture, "aarch64");
}

TEST(ElfKernelTest, IsNotFoundInOtherFiles) {
  EXPECT_THAT(ReadElfKernel({}), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(ReadElfKernel(AsBytes("070701")),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST(ElfKernelTest, RefusesEveryTruncation) {
  const std::string file = MakeElfKernel("contents");
  for (size_t size = 0; size < file.size(); ++size) {
    const std::string part = file.substr(0, size);
    EXPECT_FALSE(ReadElfKernel(AsBytes(part)).ok()) << size << " bytes";
  }
}

TEST(ElfKernelTest, RefusesASegmentBeyondTheAddressSpace) {
  std::string file = MakeElfKernel("contents");
  Poke<uint64_t>(&file, kFirstProgramHeader + offsetof(Elf64_Phdr, p_paddr),
                 ~uint64_t{0});
  EXPECT_THAT(ReadElfKernel(AsBytes(file)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("beyond the address space")));
}

TEST(ElfKernelTest, RefusesASegmentBeyondTheFile) {
  std::string file = MakeElfKernel("contents");
  Poke<uint64_t>(&file, kFirstProgramHeader + offsetof(Elf64_Phdr, p_offset),
                 ~uint64_t{0} - 4);
  EXPECT_THAT(
      ReadElfKernel(AsBytes(file)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated")));
}

TEST(ElfKernelTest, RefusesAnObjectFile) {
  std::string file = MakeElfKernel("contents");
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_type), ET_REL);
  EXPECT_THAT(
      ReadElfKernel(AsBytes(file)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("executable")));
}

TEST(ElfKernelTest, RefusesTooManyProgramHeaders) {
  std::string file = MakeElfKernel("contents");
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_phnum), 0xffff);
  EXPECT_THAT(ReadElfKernel(AsBytes(file)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("65535 program headers")));
}

}  // namespace
}  // namespace live_update::loader
