#include "state_preserve/auxiliary_ram.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/format.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kPage = 4096;

UniqueFd MemoryOf(uint64_t size_bytes) {
  UniqueFd fd(memfd_create("auxiliary_ram_test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  return fd;
}

void WriteAt(const UniqueFd& fd, uint64_t offset, const std::string& data) {
  ASSERT_EQ(
      pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)),
      data.size());
}

std::string Contents(const UniqueFd& fd) {
  struct stat file {};
  EXPECT_EQ(fstat(fd.get(), &file), 0);
  std::string contents(file.st_size, '\0');
  EXPECT_EQ(pread(fd.get(), contents.data(), contents.size(), 0),
            contents.size());
  return contents;
}

TEST(AuxiliaryRamTest, ReadsOnlyWhatIsNotZero) {
  const UniqueFd fd = MemoryOf(100 * kPage);
  WriteAt(fd, 0, "start");
  WriteAt(fd, 10 * kPage - 1, "ab");                  // Two pages, one extent.
  WriteAt(fd, 50 * kPage, std::string(kPage, '\0'));  // Data, but zero.
  ASSERT_OK_AND_ASSIGN(const AuxiliaryRam ram,
                       ReadAuxiliaryRam(fd, "vram", 100 * kPage));
  EXPECT_EQ(ram.name(), "vram");
  EXPECT_EQ(ram.size_bytes(), 100 * kPage);
  ASSERT_THAT(ram.extents(), SizeIs(2));
  EXPECT_EQ(ram.extents(0).offset(), 0);
  EXPECT_THAT(ram.extents(0).data(), SizeIs(kPage));
  EXPECT_EQ(ram.extents(1).offset(), 9 * kPage);
  EXPECT_THAT(ram.extents(1).data(), SizeIs(2 * kPage));
}

TEST(AuxiliaryRamTest, ComesBackTheSame) {
  const UniqueFd fd = MemoryOf(100 * kPage);
  WriteAt(fd, 3, "three");
  // Longer than one read, and ends with the block.
  WriteAt(fd, 20 * kPage, std::string(80 * kPage, 'x'));
  ASSERT_OK_AND_ASSIGN(const AuxiliaryRam ram,
                       ReadAuxiliaryRam(fd, "vram", 100 * kPage));
  ASSERT_OK_AND_ASSIGN(const UniqueFd restored, WriteAuxiliaryRam(ram));
  EXPECT_EQ(Contents(restored), Contents(fd));
}

TEST(AuxiliaryRamTest, ReadsABlockThatEndsInsideAPage) {
  const UniqueFd fd = MemoryOf(kPage + 10);
  WriteAt(fd, kPage + 8, "xy");
  ASSERT_OK_AND_ASSIGN(const AuxiliaryRam ram,
                       ReadAuxiliaryRam(fd, "rom", kPage + 9));
  ASSERT_OK_AND_ASSIGN(const UniqueFd restored, WriteAuxiliaryRam(ram));
  EXPECT_EQ(Contents(restored), Contents(fd).substr(0, kPage + 9));
}

TEST(AuxiliaryRamTest, MemoryNeverWrittenHasNoExtents) {
  ASSERT_OK_AND_ASSIGN(const AuxiliaryRam ram,
                       ReadAuxiliaryRam(MemoryOf(1 << 30), "vram", 1 << 30));
  EXPECT_THAT(ram.extents(), IsEmpty());
}

TEST(AuxiliaryRamTest, RefusesMemoryShorterThanItsBlock) {
  EXPECT_THAT(ReadAuxiliaryRam(MemoryOf(10), "rom", 11),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("auxiliary RAM rom: has 10 bytes of 11")));
}

TEST(AuxiliaryRamTest, RefusesWhatIsNotMemory) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  EXPECT_THAT(ReadAuxiliaryRam(read_end, "rom", 0),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("rom")));
}

TEST(AuxiliaryRamTest, RefusesABlockLargerThanAnImageTakes) {
  EXPECT_THAT(
      ReadAuxiliaryRam(MemoryOf(10), "rom", kMaxAuxiliaryBlockBytes + 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("size_bytes")));
}

TEST(AuxiliaryRamTest, RefusesToWriteOutsideTheBlock) {
  AuxiliaryRam ram;
  ram.set_name("rom");
  ram.set_size_bytes(10);
  ram.add_extents()->set_offset(11);
  EXPECT_THAT(WriteAuxiliaryRam(ram),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("past the block's")));
}

}  // namespace
}  // namespace live_update
