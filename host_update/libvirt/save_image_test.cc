#include "host_update/libvirt/save_image.h"

#include <sys/stat.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/libvirt/domain_xml.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

// Byte for byte as libvirt 11.3 on x86-64 (little-endian) writes it.
TEST(SaveImageTest, IsWhatLibvirtReads) {
  std::string expected = "LibvirtQemudSave";
  expected += std::string("\x02\0\0\0", 4);  // Version.
  expected += std::string("\x0a\0\0\0", 4);  // XML with its NUL.
  expected += std::string("\x01\0\0\0", 4);  // It ran.
  expected += std::string("\0\0\0\0", 4);    // Raw.
  expected += std::string("\0\0\0\0", 4);    // No cookie.
  expected += std::string(size_t{14} * 4, '\0');
  ASSERT_EQ(expected.size(), 92u);
  expected += std::string("<domain/>\0", 10);
  expected += "QEVM";
  ASSERT_OK_AND_ASSIGN(const std::string image,
                       ComposeSaveImage("<domain/>", true, "QEVM"));
  EXPECT_EQ(image, expected);
}

TEST(SaveImageTest, SaysThatAVmWasPaused) {
  ASSERT_OK_AND_ASSIGN(const std::string image,
                       ComposeSaveImage("<domain/>", false, ""));
  EXPECT_EQ(image.substr(24, 4), std::string(4, '\0'));
}

TEST(SaveImageTest, RefusesXmlThatTheHeaderCannotDescribe) {
  EXPECT_THAT(
      ComposeSaveImage("", true, "QEVM"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 bytes")));
  EXPECT_THAT(ComposeSaveImage(absl::string_view("<a\0/>", 5), true, "QEVM"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("XML")));
  EXPECT_THAT(
      ComposeSaveImage(std::string(kMaxXmlBytes + 1, ' '), true, "QEVM"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("XML")));
}

TEST(SaveImageTest, IsForRootAlone) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/state");
  ASSERT_THAT(WriteSaveImage(path, "<domain/>", true, "QEVM"), IsOk());
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  ASSERT_OK_AND_ASSIGN(const std::string image, ReadFile(path, 1000));
  EXPECT_EQ(image, ComposeSaveImage("<domain/>", true, "QEVM").value());
}

}  // namespace
}  // namespace live_update
