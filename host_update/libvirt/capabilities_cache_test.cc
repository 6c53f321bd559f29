#include "host_update/libvirt/capabilities_cache.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kOld[] = "6.1.0-47-cloud-amd64 #1 SMP Debian 6.1.170-3";
constexpr char kNew[] = "6.1.0-56-cloud-amd64 #1 SMP Debian 6.1.177-1 <x&y>";

std::string Capabilities(const std::string& kernel) {
  return absl::StrCat("<qemuCaps>\n  <flag name='kvm'/>\n  <kernelVersion>",
                      kernel, "</kernelVersion>\n</qemuCaps>\n");
}

class CapabilitiesCacheTest : public ::testing::Test {
 protected:
  CapabilitiesCacheTest() { std::filesystem::create_directories(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(folder_, "/", name);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  absl::StatusOr<std::vector<std::string>> Keep() {
    return KeepCapabilities(folder_, kNew, getuid());
  }

  const std::string folder_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(CapabilitiesCacheTest, NamesTheNewKernelAndChangesNothingElse) {
  const std::string a = Write("a.xml", Capabilities(kOld));
  const std::string b = Write("b.xml", Capabilities(kOld));
  ASSERT_OK_AND_ASSIGN(const auto kept, Keep());
  EXPECT_THAT(kept, ElementsAre(a, b));
  EXPECT_EQ(ReadFile(a, 4096).value_or(""),
            Capabilities("6.1.0-56-cloud-amd64 #1 SMP Debian 6.1.177-1 "
                         "&lt;x&amp;y&gt;"));
  ASSERT_OK_AND_ASSIGN(const auto again, Keep());
  EXPECT_THAT(again, IsEmpty());
}

TEST_F(CapabilitiesCacheTest, LeavesWhatItDoesNotKnow) {
  const std::vector<std::string> others = {
      Write("none.xml", "<qemuCaps/>"),
      Write("two.xml", Capabilities(kOld) + Capabilities(kOld)),
      Write("cut.xml", "</kernelVersion><kernelVersion>"),
      Write("other.txt", Capabilities(kOld))};
  std::vector<std::string> before;
  for (const std::string& path : others) {
    before.push_back(ReadFile(path, 4096).value_or(""));
  }
  ASSERT_OK_AND_ASSIGN(const auto kept, Keep());
  EXPECT_THAT(kept, IsEmpty());
  for (size_t i = 0; i < others.size(); ++i) {
    EXPECT_EQ(ReadFile(others[i], 4096).value_or(""), before[i]) << others[i];
  }
}

TEST_F(CapabilitiesCacheTest, FollowsNoLink) {
  const std::string elsewhere = Write("elsewhere", Capabilities(kOld));
  std::filesystem::create_symlink(elsewhere, folder_ + "/link.xml");
  ASSERT_OK_AND_ASSIGN(const auto kept, Keep());
  EXPECT_THAT(kept, IsEmpty());
  EXPECT_EQ(ReadFile(elsewhere, 4096).value_or(""), Capabilities(kOld));
}

TEST_F(CapabilitiesCacheTest, RefusesAFolderOfSomebodyElse) {
  const std::string path = Write("a.xml", Capabilities(kOld));
  EXPECT_THAT(KeepCapabilities(folder_, kNew, getuid() + 1),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("its owner is user")));
  EXPECT_EQ(ReadFile(path, 4096).value_or(""), Capabilities(kOld));
}

TEST_F(CapabilitiesCacheTest, SaysThatThereIsNoFolder) {
  EXPECT_THAT(KeepCapabilities(folder_ + "/none", kNew, getuid()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

}  // namespace
}  // namespace live_update
