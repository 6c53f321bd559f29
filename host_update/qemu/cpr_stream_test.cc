#include "host_update/qemu/cpr_stream.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

UniqueFd AnyFd() { return UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)); }

std::vector<CprFd> TwoFds() {
  std::vector<CprFd> fds(2);
  fds[0] = {.name = "pc.bios", .id = 0, .fd = AnyFd()};
  fds[1] = {.name = "/objects/ram-node1", .id = 7, .fd = AnyFd()};
  return fds;
}

// The stream as one string, for tests of bytes.
std::string Bytes(absl::Span<const CprFd> fds) {
  const std::vector<CprStreamPiece> pieces = SerializeCprStream(fds).value();
  std::string bytes;
  for (const CprStreamPiece& piece : pieces) {
    bytes += piece.bytes;
  }
  return bytes;
}

std::string String(absl::string_view with_nuls) {
  return std::string(with_nuls);
}

// As SaveOverCpr reads: in the pieces that the parser asks for, with a
// descriptor where it is due.
absl::StatusOr<std::vector<CprFd>> Parse(absl::string_view stream) {
  CprStreamParser parser;
  while (!stream.empty()) {
    const absl::string_view piece = stream.substr(0, parser.BytesWanted());
    LU_RETURN_IF_ERROR(parser.Add(
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(piece.data()),
                            piece.size()),
        parser.FdDue() ? AnyFd() : UniqueFd()));
    stream.remove_prefix(piece.size());
  }
  return std::move(parser).Finish();
}

const absl::string_view kOneFd(
    "QCPR\0\0\0\1"
    "\1\0\0\0\7pc.ram\0\0\0\0\0\x20"
    "\0",
    26);
const absl::string_view kVfioSubsection(
    "\5\x15"
    "CprState/vfio devices\0\0\0\1\0",
    28);

TEST(SerializeCprStreamTest, WritesTheBytesThatQemuWrites) {
  std::vector<CprFd> fds(1);
  fds[0] = {.name = "pc.ram", .id = 0, .fd = AnyFd()};
  EXPECT_EQ(Bytes(fds), kOneFd);
}

TEST(SerializeCprStreamTest, SendsEachDescriptorWithABlankOfItsOwn) {
  const std::vector<CprFd> fds = TwoFds();
  ASSERT_OK_AND_ASSIGN(const std::vector<CprStreamPiece> pieces,
                       SerializeCprStream(fds));
  ASSERT_THAT(pieces, SizeIs(5));
  EXPECT_EQ(pieces[0].fd, -1);
  EXPECT_EQ(pieces[1].fd, fds[0].fd.get());
  EXPECT_EQ(pieces[1].bytes, " ");
  EXPECT_EQ(pieces[3].fd, fds[1].fd.get());
  EXPECT_EQ(pieces[3].bytes, " ");
}

TEST(SerializeCprStreamTest, RefusesWhatQemuCouldNotTellApart) {
  std::vector<CprFd> fds = TwoFds();
  fds[1].name = fds[0].name;
  EXPECT_THAT(SerializeCprStream(fds), IsOk());  // Their ids differ.
  fds[1].id = fds[0].id;
  EXPECT_THAT(SerializeCprStream(fds),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("pc.bios comes twice")));
}

TEST(SerializeCprStreamTest, RefusesAnUnsetDescriptor) {
  std::vector<CprFd> fds = TwoFds();
  fds[1].fd.Reset();
  EXPECT_THAT(SerializeCprStream(fds),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("/objects/ram-node1")));
}

TEST(CprStreamParserTest, ReadsWhatWasWritten) {
  const std::vector<CprFd> fds = TwoFds();
  ASSERT_OK_AND_ASSIGN(const std::vector<CprFd> read, Parse(Bytes(fds)));
  ASSERT_THAT(read, SizeIs(2));
  EXPECT_EQ(read[0].name, "pc.bios");
  EXPECT_EQ(read[1].name, "/objects/ram-node1");
  EXPECT_EQ(read[1].id, 7u);
  EXPECT_TRUE(read[1].fd.ok());
}

TEST(CprStreamParserTest, ReadsByteByByte) {
  CprStreamParser parser;
  for (const char byte : kOneFd) {
    const auto value = static_cast<uint8_t>(byte);
    ASSERT_THAT(parser.Add(absl::MakeConstSpan(&value, 1),
                           parser.FdDue() ? AnyFd() : UniqueFd()),
                IsOk());
  }
  EXPECT_THAT(std::move(parser).Finish(), IsOk());
}

TEST(CprStreamParserTest, AcceptsTheEmptySubsectionOfQemu101) {
  ASSERT_OK_AND_ASSIGN(const std::vector<CprFd> read,
                       Parse(absl::StrCat(kOneFd, kVfioSubsection)));
  EXPECT_THAT(read, SizeIs(1));
}

TEST(CprStreamParserTest, RefusesAVfioDevice) {
  std::string stream = absl::StrCat(kOneFd, kVfioSubsection);
  stream.back() = 1;
  EXPECT_THAT(Parse(stream),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("VFIO")));
}

TEST(CprStreamParserTest, RefusesEveryTruncation) {
  for (size_t size = 0; size < kOneFd.size(); ++size) {
    EXPECT_THAT(Parse(kOneFd.substr(0, size)),
                StatusIs(absl::StatusCode::kDataLoss,
                         HasSubstr(absl::StrCat("offset ", size))))
        << size;
  }
}

TEST(CprStreamParserTest, RefusesATruncatedSubsection) {
  for (size_t size = 1; size < kVfioSubsection.size(); ++size) {
    EXPECT_THAT(Parse(absl::StrCat(kOneFd, kVfioSubsection.substr(0, size))),
                StatusIs(absl::StatusCode::kDataLoss, _))
        << size;
  }
}

TEST(CprStreamParserTest, RefusesAnotherMagic) {
  std::string stream(kOneFd);
  stream[3] = 'X';
  EXPECT_THAT(Parse(stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("magic 0x51435058, not 0x51435052")));
}

TEST(CprStreamParserTest, RefusesAnotherVersion) {
  std::string stream(kOneFd);
  stream[7] = 2;
  EXPECT_THAT(Parse(stream), StatusIs(absl::StatusCode::kUnimplemented,
                                      HasSubstr("version 2")));
}

TEST(CprStreamParserTest, RefusesAHugeNameBeforeReadingIt) {
  EXPECT_THAT(Parse(String({"QCPR\0\0\0\1\1\xff\xff\xff\xff", 13})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("name length 4294967295 before offset 13")));
}

TEST(CprStreamParserTest, RefusesAnEmptyName) {
  EXPECT_THAT(
      Parse(String({"QCPR\0\0\0\1\1\0\0\0\1\0", 14})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("length 1")));
}

TEST(CprStreamParserTest, RefusesANameWithoutItsNul) {
  std::string stream(kOneFd);
  stream[19] = 'x';
  EXPECT_THAT(Parse(stream), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("without its NUL")));
}

TEST(CprStreamParserTest, RefusesANameWithANulInside) {
  std::string stream(kOneFd);
  stream[15] = '\0';
  EXPECT_THAT(Parse(stream), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("bad name")));
}

TEST(CprStreamParserTest, RefusesTheSameNameTwice) {
  std::string stream(kOneFd.substr(0, kOneFd.size() - 1));
  absl::StrAppend(&stream, kOneFd.substr(8));
  EXPECT_THAT(Parse(stream), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("pc.ram comes twice")));
}

TEST(CprStreamParserTest, RefusesBytesAfterTheEnd) {
  EXPECT_THAT(Parse(absl::StrCat(kOneFd, "x")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("unexpected byte 0x78 at offset 26")));
  EXPECT_THAT(Parse(absl::StrCat(kOneFd, kVfioSubsection, "x")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("unexpected byte 0x78")));
}

TEST(CprStreamParserTest, RefusesADescriptorThatIsNotDueAndClosesIt) {
  const uint8_t byte = 'Q';
  UniqueFd fd = AnyFd();
  const int number = fd.get();
  CprStreamParser parser;
  EXPECT_THAT(parser.Add(absl::MakeConstSpan(&byte, 1), std::move(fd)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not due at offset 0")));
  struct stat info;
  EXPECT_NE(fstat(number, &info), 0);
}

TEST(CprStreamParserTest, RefusesAMissingDescriptor) {
  CprStreamParser parser;
  absl::string_view stream = kOneFd;
  while (!parser.FdDue()) {
    const absl::string_view piece = stream.substr(0, parser.BytesWanted());
    ASSERT_THAT(parser.Add(absl::MakeConstSpan(
                               reinterpret_cast<const uint8_t*>(piece.data()),
                               piece.size()),
                           UniqueFd()),
                IsOk());
    stream.remove_prefix(piece.size());
  }
  const uint8_t byte = ' ';
  EXPECT_THAT(
      parser.Add(absl::MakeConstSpan(&byte, 1), UniqueFd()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("no file descriptor with the byte for pc.ram")));
}

TEST(CprStreamParserTest, RefusesMoreDescriptorsThanItsLimit) {
  std::string stream(kOneFd.substr(0, 8));
  for (size_t i = 0; i <= kMaxCprFds; ++i) {
    absl::StrAppend(&stream, absl::string_view("\1\0\0\0\2a\0", 7),
                    absl::string_view("\0\0", 2),
                    std::string(1, static_cast<char>(i >> 8)),
                    std::string(1, static_cast<char>(i & 0xff)), " ");
  }
  EXPECT_THAT(Parse(stream), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("more than 4096")));
}

}  // namespace
}  // namespace live_update
