// The process that reads kernels is this test again (see main).

#include "loader/reader_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/kernel_reading.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

// What the reader does in place of reading, by the name of the file it gets.
constexpr char kOpens[] = "opens";
constexpr char kConnects[] = "connects";
constexpr char kRunsCode[] = "runs-code";
constexpr char kAllocates[] = "allocates";

UniqueFd File(const std::string& bytes, const char* name = "kernel") {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC));
  EXPECT_THAT(WriteAll(fd, bytes), IsOk());
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_SET), 0);
  return fd;
}

TEST(ReaderProcessTest, ReadsWhatThisProcessWouldRead) {
  for (const std::string& kernel :
       {MakeWholeKernel(), MakeElfKernel(TestKernelContents())}) {
    const KernelReading here = ReadKernelFile(File(kernel));
    const KernelReading apart = ReadKernelApart(File(kernel));
    ASSERT_THAT(apart.image, IsOk());
    ASSERT_THAT(apart.facts, IsOk());
    EXPECT_EQ(apart.image->format(), here.image->format());
    EXPECT_EQ(apart.image->architecture(), here.image->architecture());
    EXPECT_EQ(apart.image->release(), here.image->release());
    EXPECT_EQ(apart.image->file_bytes, kernel.size());
    EXPECT_EQ(apart.facts->banner, here.facts->banner);
    EXPECT_EQ(apart.facts->build_id, kTestBuildId);
    EXPECT_EQ(apart.facts->abi_strings, here.facts->abi_strings);
    // Byte for byte.
    EXPECT_EQ(PackReading(apart), PackReading(here));
  }
}

TEST(ReaderProcessTest, WhatItRefusesIsRefusedAlike) {
  const KernelReading here = ReadKernelFile(File("070701 is an initrd"));
  const KernelReading apart = ReadKernelApart(File("070701 is an initrd"));
  EXPECT_EQ(apart.image.status(), here.image.status());
  EXPECT_EQ(apart.facts.status(), here.facts.status());
  EXPECT_THAT(apart.image, StatusIs(absl::StatusCode::kInvalidArgument,
                                    HasSubstr("an initrd?")));
}

// Were a parser of it taken over, then so.
TEST(ReaderProcessTest, CanDoNothingElse) {
  for (const char* deed : {kOpens, kConnects, kRunsCode}) {
    EXPECT_THAT(ReadKernelApart(File("x", deed)).image,
                StatusIs(absl::StatusCode::kInternal,
                         HasSubstr(absl::StrCat("signal ", SIGSYS))))
        << deed;
  }
}

#ifndef __SANITIZE_ADDRESS__
TEST(ReaderProcessTest, TakesNoMoreMemoryThanAKernelCanNeed) {
  EXPECT_THAT(ReadKernelApart(File("x", kAllocates)).image,
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr(absl::StrCat("signal ", SIGABRT))));
}
#endif

TEST(ReaderProcessTest, AFileThatCannotBeReadIsSaidToBe) {
  const UniqueFd folder(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_THAT(ReadKernelApart(folder).image.status().ToString(),
              HasSubstr("read: Is a directory"));
}

TEST(KernelReadingTest, OtherBytesAreNoReading) {
  EXPECT_THAT(UnpackReading("\xff"),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  const absl::StatusOr<KernelReading> nothing = UnpackReading("");
  ASSERT_THAT(nothing, IsOk());
  EXPECT_FALSE(nothing->image.ok());
  EXPECT_FALSE(nothing->facts.ok());
}

// In the reader, once it has confined itself.
KernelReading Misbehave(const UniqueFd& file, const std::string& deed) {
  if (deed == kOpens) (void)open("/etc/passwd", O_RDONLY | O_CLOEXEC);
  if (deed == kConnects) (void)socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (deed == kRunsCode) {
    (void)mmap(nullptr, 4096, PROT_READ | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (deed == kAllocates) {
    std::string much(size_t{4} << 30, 'x');
    return {.image = absl::UnknownError(much.substr(0, 1))};
  }
  return ReadKernelFile(file);
}

// The name of standard input, a memfd: "/memfd:NAME (deleted)".
std::string NameOfInput() {
  char target[64] = {};
  if (readlink("/proc/self/fd/0", target, sizeof(target) - 1) < 0) return "";
  const std::string name = target;
  if (name.rfind("/memfd:", 0) != 0) return "";
  return name.substr(7, name.find(' ') - 7);
}

}  // namespace

int RunMisbehavingReader() {
  const std::string deed = NameOfInput();
  return RunKernelReader(
      [&deed](const UniqueFd& file) { return Misbehave(file, deed); });
}

}  // namespace live_update::loader

int main(int argc, char** argv) {
  using live_update::loader::kKernelReaderArgument;
  if (argc == 2 && strcmp(argv[1], kKernelReaderArgument) == 0) {
    return live_update::loader::RunMisbehavingReader();
  }
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
