#include "host_update/libvirt/hook.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/libvirt/domain_xml.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kUuid[] = "b5f87675-2dcb-4cf2-ac25-801ad471ff0b";

std::string DomainXml() {
  return absl::StrCat(
      "<domain type='kvm'><name>web-1</name><uuid>", kUuid,
      "</uuid><memory unit='KiB'>262144</memory>",
      "<os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>",
      "</domain>");
}

class HookTest : public ::testing::Test {
 protected:
  HookTest() : runtime_(::testing::TempDir() + "/hook-vm") {
    std::filesystem::remove_all(runtime_);
    std::filesystem::create_directory(runtime_);
  }

  std::string Restored() {
    auto xml = DomainXmlForRestore(
        DomainXml(), absl::StrCat(runtime_, "/", kUuid, "/qemu/cpr"), runtime_);
    EXPECT_THAT(xml, IsOk());
    return *xml;
  }

  const std::string runtime_;
};

TEST_F(HookTest, LeavesADomainAloneThatNeverMetALiveUpdate) {
  ASSERT_OK_AND_ASSIGN(const std::string xml,
                       XmlForRestore(DomainXml(), runtime_));
  EXPECT_THAT(xml, IsEmpty());
}

TEST_F(HookTest, TakesOurIncomingOutOfALaterRestore) {
  ASSERT_THAT(Restored(), HasSubstr("-incoming"));
  ASSERT_OK_AND_ASSIGN(const std::string xml,
                       XmlForRestore(Restored(), runtime_));
  EXPECT_THAT(xml, HasSubstr(kUuid));
  EXPECT_THAT(xml, Not(HasSubstr("-incoming")));
}

TEST_F(HookTest, KeepsItInOurOwnRestore) {
  std::filesystem::create_directory(absl::StrCat(runtime_, "/", kUuid));
  ASSERT_OK_AND_ASSIGN(const std::string xml,
                       XmlForRestore(Restored(), runtime_));
  EXPECT_THAT(xml, IsEmpty());
}

}  // namespace
}  // namespace live_update
