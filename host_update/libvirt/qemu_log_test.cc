#include "host_update/libvirt/qemu_log.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace live_update {
namespace {

class QemuLogTest : public ::testing::Test {
 protected:
  QemuLogTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/logXXXXXX");
    directory_ = mkdtemp(name.data());
  }
  ~QemuLogTest() override { std::filesystem::remove_all(directory_); }

  void Append(const std::string& text) {
    std::ofstream(absl::StrCat(directory_, "/web-1.log"), std::ios::app)
        << text;
  }

  std::string directory_;
};

TEST_F(QemuLogTest, TellsOnlyQemusOwnNewLines) {
  Append("2026-01-01T00:00:00.000000Z qemu-system-x86_64: old\n");
  const QemuLog log(directory_, "web-1");
  Append(
      "2026-01-01 00:00:01.000+0000: starting up libvirt version: 11.3.0\n"
      "/usr/bin/qemu-system-x86_64 \\\n-name guest=web-1 \\\n"
      "2026-01-01T00:00:01.000000Z qemu-system-x86_64: disk on fire\n"
      "2026-01-01T00:00:01.000000Z qemu-system-x86_64: terminating on signal "
      "15 from pid 7 (libvirtd)\n"
      "2026-01-01 00:00:01.000+0000: shutting down, reason=failed\n");
  EXPECT_EQ(log.NewErrors(""),
            "; QEMU's log: qemu-system-x86_64: disk on fire");
}

TEST_F(QemuLogTest, DoesNotRepeatWhatLibvirtSaidAlready) {
  const QemuLog log(directory_, "web-1");
  Append("2026-01-01T00:00:01.000000Z qemu-system-x86_64: disk on fire\n");
  EXPECT_EQ(log.NewErrors("internal error: 2026-01-01T00:00:01.000000Z "
                          "qemu-system-x86_64: disk on fire"),
            "");
}

TEST_F(QemuLogTest, KeepsTheLastFiveLines) {
  const QemuLog log(directory_, "web-1");
  for (int i = 0; i < 7; ++i) Append(absl::StrCat("Z qemu: line ", i, "\n"));
  EXPECT_EQ(log.NewErrors(""),
            "; QEMU's log: qemu: line 2; qemu: line 3; qemu: line 4; "
            "qemu: line 5; qemu: line 6");
}

TEST_F(QemuLogTest, NeedsNoLog) {
  EXPECT_EQ(QemuLog(directory_, "none").NewErrors(""), "");
}

}  // namespace
}  // namespace live_update
