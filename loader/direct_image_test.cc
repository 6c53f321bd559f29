#include "loader/direct_image.h"

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
using ::testing::HasSubstr;

constexpr size_t kFirstProgramHeader = sizeof(Elf64_Ehdr);
constexpr size_t kSecondProgramHeader =
    kFirstProgramHeader + sizeof(Elf64_Phdr);

absl::StatusOr<DirectImage> Make(const std::string& file, DirectEntry entry) {
  LU_ASSIGN_OR_RETURN(const KernelImage image, ReadKernelImage(AsBytes(file)));
  return MakeDirectImage(AsBytes(file), image, entry);
}

auto Refuses(const std::string& why) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why));
}

// The note of MakeElfKernel made a second segment, at `address`.
std::string TwoSegments(uint64_t address) {
  std::string file = MakeElfKernel("contents");
  const auto poke = [&file](size_t field, uint64_t value) {
    Poke<uint64_t>(&file, kSecondProgramHeader + field, value);
  };
  Poke<uint32_t>(&file, kSecondProgramHeader + offsetof(Elf64_Phdr, p_type),
                 PT_LOAD);
  poke(offsetof(Elf64_Phdr, p_paddr), address);
  poke(offsetof(Elf64_Phdr, p_offset), 0x200);
  poke(offsetof(Elf64_Phdr, p_filesz), 4);
  poke(offsetof(Elf64_Phdr, p_memsz), 0x500);
  return file;
}

TEST(DirectImageTest, OfAVmlinuxLiesWhereItIsLinked) {
  ASSERT_OK_AND_ASSIGN(const DirectImage image,
                       Make(MakeElfKernel("contents"), DirectEntry::kVmlinux));
  EXPECT_EQ(image.contents, "contents");
  EXPECT_EQ(image.needs.lowest_address, 0x1000000u);
  EXPECT_FALSE(image.needs.movable);
  EXPECT_EQ(image.needs.memory_bytes, 0x1008u);
  EXPECT_EQ(image.needs.entry_offset, 0u);
  EXPECT_FALSE(image.needs.five_level_paging);
}

TEST(DirectImageTest, HasTheGapsBetweenSegments) {
  ASSERT_OK_AND_ASSIGN(const DirectImage image,
                       Make(TwoSegments(0x1002000), DirectEntry::kVmlinux));
  EXPECT_EQ(image.contents,
            "contents" + std::string(0x2000 - 8, '\0') + "cont");
  EXPECT_EQ(image.needs.memory_bytes, 0x2500u);
}

TEST(DirectImageTest, OfABzImageCanUnpackIt) {
  ASSERT_OK_AND_ASSIGN(const DirectImage image,
                       Make(MakeWholeKernel(), DirectEntry::kVmlinux));
  EXPECT_EQ(image.contents, TestKernelContents());
  EXPECT_EQ(image.needs.setup_header.substr(0x11, 4), "HdrS");
  EXPECT_EQ(image.needs.command_line_bytes, 2047u);
}

TEST(DirectImageTest, OfABzImageIsEnteredAt64Bit) {
  TestBzImage made;
  made.xloadflags = 0x23;  // Also 5-level paging.
  made.payload = std::string(4096, 'p');
  ASSERT_OK_AND_ASSIGN(const DirectImage image,
                       Make(MakeBzImage(made), DirectEntry::kBzImage));
  EXPECT_THAT(image.contents, HasSubstr(made.payload));
  EXPECT_EQ(image.needs.entry_offset, 0x200u);
  EXPECT_EQ(image.needs.memory_bytes, 32u << 20);
  EXPECT_EQ(image.needs.lowest_address, 0x1000000u);
  EXPECT_EQ(image.needs.alignment, 0x200000u);
  EXPECT_TRUE(image.needs.movable);
  EXPECT_TRUE(image.needs.five_level_paging);
}

TEST(DirectImageTest, RefusesSegmentsThatOverlap) {
  EXPECT_THAT(Make(TwoSegments(0x1001000), DirectEntry::kVmlinux),
              Refuses("overlap in memory: 0x1000000+0x1008 and "
                      "0x1001000+0x500"));
}

TEST(DirectImageTest, RefusesAnEntryPointOutside) {
  std::string file = MakeElfKernel("contents");
  for (const uint64_t entry : {0x1000008, 0xfff000, 0x1001000}) {
    Poke<uint64_t>(&file, offsetof(Elf64_Ehdr, e_entry), entry);
    EXPECT_THAT(Make(file, DirectEntry::kVmlinux),
                Refuses("lies in no segment"));
  }
}

TEST(DirectImageTest, RefusesEveryTruncation) {
  const std::string file = MakeElfKernel("contents");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(Make(file.substr(0, size), DirectEntry::kVmlinux).ok())
        << size << " bytes";
  }
  const std::string packed = MakeWholeKernel();
  EXPECT_FALSE(
      Make(packed.substr(0, packed.size() - 32), DirectEntry::kVmlinux).ok());
}

TEST(DirectImageTest, RefusesAKernelThatIsNotAligned) {
  std::string file = MakeElfKernel("contents");
  Poke<uint64_t>(&file, kFirstProgramHeader + offsetof(Elf64_Phdr, p_paddr),
                 0x1001000);
  EXPECT_THAT(Make(file, DirectEntry::kVmlinux),
              Refuses("must start at a multiple of 0x200000"));
}

TEST(DirectImageTest, RefusesAKernelOfNoSensibleSize) {
  EXPECT_THAT(Make(TwoSegments(uint64_t{1} << 40), DirectEntry::kVmlinux),
              Refuses("no longer than 0x40000000"));
}

TEST(DirectImageTest, RefusesABzImageWithoutAnAlignment) {
  TestBzImage made;
  made.payload = std::string(4096, 'p');
  std::string file = MakeBzImage(made);
  for (const uint32_t alignment : {0U, 0x300000U, 0x80000000U}) {
    Poke<uint32_t>(&file, 0x230, alignment);
    EXPECT_THAT(Make(file, DirectEntry::kBzImage), Refuses("aligned to"));
  }
}

TEST(DirectImageTest, RefusesAVmlinuxAsBzImage) {
  EXPECT_THAT(Make(MakeElfKernel("contents"), DirectEntry::kBzImage),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("as a bzImage")));
}

TEST(DirectImageTest, RefusesAnotherArchitecture) {
  std::string file = MakeElfKernel("contents");
  Poke<uint16_t>(&file, offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
  EXPECT_THAT(
      Make(file, DirectEntry::kVmlinux),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("aarch64")));
}

}  // namespace
}  // namespace live_update::loader
