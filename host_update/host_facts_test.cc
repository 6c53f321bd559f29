#include "host_update/host_facts.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// A host's /proc, /sys and /etc, as far as they are read, below a folder.
class HostFactsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root_);
    Write("/proc/sys/kernel/osrelease", "6.1.0-56-cloud-amd64\n");
    Write("/proc/sys/kernel/random/boot_id",
          "0e4c1f0c-2f6c-4d55-8e1b-000000000001\n");
    Write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    Write("/proc/cmdline", "ro memmap=1G!1G\n");
    Write("/proc/self/status",
          "Name:\tx\nUid:\t1000\t0\t0\t0\nCapInh:\t0\n"
          "CapEff:\t000001ffffffffff\n");
    Write("/proc/1/mountinfo",
          "20 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
          "21 20 259:0 / /mnt/dax rw - ext4 /dev/pmem0 rw,dax=always\n");
    Write("/proc/iomem",
          "00001000-3fffffff : System RAM\n"
          "40000000-7fffffff : Persistent Memory (legacy)\n");
    Write("/proc/meminfo", "MemTotal: 100 kB\nMemAvailable:    2048 kB\n");
    Write("/proc/cpuinfo",
          "processor\t: 0\nvendor_id\t: AuthenticAMD\n"
          "flags\t\t: fpu tsc constant_tsc nonstop_tsc\n");
    Write("/proc/sys/kernel/kexec_load_disabled", "0\n");
    Write("/sys/kernel/kexec_loaded", "0\n");
    Write("/sys/devices/system/clocksource/clocksource0/current_clocksource",
          "tsc\n");
    Write("/sys/class/net/br0/address", "");
    Write("/sys/class/net/lo/address", "");
    Write("/sys/dev/block/259:0/size", "2097152\n");
    Write("/sys/dev/block/259:0/device/resource", "0x40000000\n");
    std::filesystem::create_directories(root_ + "/mnt/dax/vms");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path, std::ios::binary) << text;
  }

  absl::StatusOr<HostFacts> Collect(bool luo = false) {
    return CollectHostFacts(
        {.root = root_, .preserved_directory = "/mnt/dax/vms", .luo = luo});
  }
  void Link(const std::string& path, const std::string& target) {
    std::filesystem::create_directories(
        std::filesystem::path(root_ + path).parent_path());
    std::filesystem::create_symlink(target, root_ + path);
  }

  const std::string root_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(HostFactsTest, ReadsAHost) {
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  EXPECT_EQ(host.kernel_release, "6.1.0-56-cloud-amd64");
  EXPECT_EQ(host.boot_id, "0e4c1f0c-2f6c-4d55-8e1b-000000000001");
  EXPECT_EQ(host.machine_id, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(host.command_line, "ro memmap=1G!1G");
  EXPECT_TRUE(host.is_root);
  EXPECT_TRUE(host.has_cap_sys_boot);
  EXPECT_EQ(host.memory_map.value_or(loader::MemoryMap()).size(), 2u);
  EXPECT_FALSE(host.kernel_staged.value_or(true));
  EXPECT_EQ(host.kexec_policy.load_disabled, "0");
  EXPECT_FALSE(host.secure_boot.has_value());
  EXPECT_EQ(host.memory_available_bytes, 2u << 20);
  EXPECT_EQ(host.cpu_vendor, "AuthenticAMD");
  EXPECT_EQ(host.clocksource, "tsc");
  EXPECT_THAT(host.cpu_flags, ::testing::UnorderedElementsAre(
                                  "fpu", "tsc", "constant_tsc", "nonstop_tsc"));
  EXPECT_THAT(host.network_interfaces, UnorderedElementsAre("br0", "lo"));
}

TEST_F(HostFactsTest, KnowsWhetherTheEarlyRestoreIsInstalled) {
  ASSERT_OK_AND_ASSIGN(const HostFacts without, Collect());
  EXPECT_FALSE(without.early_restore_installed);
  Write("/lib/systemd/system/host-update-early.target", "[Unit]\n");
  ASSERT_OK_AND_ASSIGN(const HostFacts with, Collect());
  EXPECT_TRUE(with.early_restore_installed);
}

TEST_F(HostFactsTest, KnowsWatchdogsThatCount) {
  for (const char* name : {"watchdog0", "watchdog1", "watchdog2"}) {
    const std::string folder = absl::StrCat("/sys/class/watchdog/", name);
    Write(folder + "/state", "inactive\n");
    Write(folder + "/identity", "iTCO_wdt\n");
    Write(folder + "/timeout", "60\n");
  }
  ASSERT_OK_AND_ASSIGN(const HostFacts none, Collect());
  EXPECT_THAT(none.watchdogs, ::testing::IsEmpty());
  Write("/sys/class/watchdog/watchdog1/state", "active\n");
  Write("/sys/class/watchdog/watchdog2/state", "active\n");
  Write("/sys/class/watchdog/watchdog2/timeout", "-1\n");
  Write("/sys/module/ipmi_watchdog/parameters/timeout", "10\n");
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  ASSERT_EQ(host.watchdogs.size(), 3);
  std::map<std::string, uint64_t> timeouts;
  for (const HostWatchdog& watchdog : host.watchdogs) {
    timeouts[watchdog.name] = watchdog.timeout_s;
  }
  EXPECT_THAT(timeouts, ::testing::UnorderedElementsAre(
                            ::testing::Pair("watchdog1", 60),
                            ::testing::Pair("watchdog2", 0),
                            ::testing::Pair("ipmi_watchdog", 120)));
}

TEST_F(HostFactsTest, ReadsNoMoreThanItsIdentityIfThatIsAskedFor) {
  ASSERT_OK_AND_ASSIGN(
      const HostFacts host,
      CollectHostFacts({.root = root_, .luo = true, .identity_only = true}));
  EXPECT_EQ(host.kernel_release, "6.1.0-56-cloud-amd64");
  EXPECT_EQ(host.boot_id, "0e4c1f0c-2f6c-4d55-8e1b-000000000001");
  EXPECT_EQ(host.machine_id, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(host.command_line, "ro memmap=1G!1G");
  EXPECT_THAT(host.memory_map.status(),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("not read")));
  EXPECT_EQ(host.cpu_vendor, "");
}

TEST_F(HostFactsTest, LooksForLuoOnlyIfItIsAskedFor) {
  Write("/dev/liveupdate", "");
  Write("/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always within_size [advise] never deny force\n");
  ASSERT_OK_AND_ASSIGN(const HostFacts dax, Collect());
  EXPECT_FALSE(dax.luo.device);
  EXPECT_THAT(dax.running_kernel,
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("not read")));
  ASSERT_OK_AND_ASSIGN(const HostFacts luo, Collect(true));
  EXPECT_TRUE(luo.luo.device);
  EXPECT_EQ(luo.luo.holder, "");
  EXPECT_EQ(luo.luo.shmem_huge, "advise");
  EXPECT_THAT(luo.running_kernel,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("/proc/version")));
}

TEST_F(HostFactsTest, FindsWhoHasLuoOpenWithoutOpeningIt) {
  Link("/dev/liveupdate", "none");  // Which can't be opened.
  Write("/proc/7/comm", "idle\n");
  Link("/proc/7/fd/0", "/dev/null");
  Write("/proc/12/comm", "systemd\n");
  Link("/proc/12/fd/3", "/dev/liveupdate");
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect(true));
  EXPECT_FALSE(host.luo.device);
  EXPECT_EQ(host.luo.holder, "systemd (12)");
}

TEST_F(HostFactsTest, FindsThePmemDeviceUnderTheDirectory) {
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  ASSERT_THAT(host.preserved, IsOk());
  EXPECT_EQ(host.preserved->mount.source, "/dev/pmem0");
  EXPECT_EQ(host.preserved->dax, PreservedMount::Dax::kAlways);
  struct stat info {};
  ASSERT_EQ(stat((root_ + "/mnt/dax").c_str(), &info), 0);
  EXPECT_EQ(host.preserved->device, info.st_dev);
  ASSERT_OK_AND_ASSIGN(const loader::PhysRange range, host.preserved->range);
  EXPECT_EQ(range,
            (loader::PhysRange{.start = 0x40000000, .size_bytes = 0x40000000}));
}

TEST_F(HostFactsTest, FindsThePartitionsPartOfTheDevice) {
  std::filesystem::remove_all(root_ + "/sys/dev/block/259:0");
  Write("/sys/devices/pmem0/device/resource", "0x40000000\n");
  Write("/sys/devices/pmem0/pmem0p1/partition", "1\n");
  Write("/sys/devices/pmem0/pmem0p1/start", "2048\n");
  Write("/sys/devices/pmem0/pmem0p1/size", "4096\n");
  std::filesystem::create_directory_symlink(
      root_ + "/sys/devices/pmem0/pmem0p1", root_ + "/sys/dev/block/259:0");
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  ASSERT_THAT(host.preserved, IsOk());
  ASSERT_OK_AND_ASSIGN(const loader::PhysRange range, host.preserved->range);
  EXPECT_EQ(range,
            (loader::PhysRange{.start = 0x40100000, .size_bytes = 0x200000}));
}

TEST_F(HostFactsTest, SaysThatTheDeviceIsNotPmem) {
  std::filesystem::remove_all(root_ + "/sys/dev/block/259:0/device");
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  ASSERT_THAT(host.preserved, IsOk());
  EXPECT_THAT(host.preserved->range,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("/dev/pmem0 is not a pmem device")));
}

TEST_F(HostFactsTest, ReadsDaxOptions) {
  const auto dax_with = [this](const std::string& options) {
    Write("/proc/1/mountinfo",
          "20 1 259:0 / / rw - xfs /dev/pmem0 " + options + "\n");
    const auto host = Collect();
    return host.ok() && host->preserved.ok() ? host->preserved->dax
                                             : PreservedMount::Dax::kNever;
  };
  EXPECT_EQ(dax_with("rw,dax"), PreservedMount::Dax::kAlways);
  EXPECT_EQ(dax_with("rw,dax=inode"), PreservedMount::Dax::kPerFile);
  EXPECT_EQ(dax_with("rw,dax=never"), PreservedMount::Dax::kNever);
  EXPECT_EQ(dax_with("rw"), PreservedMount::Dax::kNever);
}

TEST_F(HostFactsTest, GoesOnWithoutThePreservedDirectory) {
  std::filesystem::remove_all(root_ + "/mnt");
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  EXPECT_THAT(host.preserved,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/mnt/dax/vms")));
}

TEST_F(HostFactsTest, KnowsWhoIsNotRoot) {
  Write("/proc/self/status",
        "Uid:\t0\t1000\t0\t0\nCapEff:\t00000000003fffff\n");
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  EXPECT_FALSE(host.is_root);
  EXPECT_FALSE(host.has_cap_sys_boot);
}

TEST_F(HostFactsTest, ReadsSecureBoot) {
  Write(
      "/sys/firmware/efi/efivars/"
      "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
      std::string("\x06\0\0\0\x01", 5));
  ASSERT_OK_AND_ASSIGN(const HostFacts host, Collect());
  EXPECT_EQ(host.secure_boot, true);
}

TEST_F(HostFactsTest, NamesTheFileItCannotBeWithout) {
  std::filesystem::remove(root_ + "/etc/machine-id");
  EXPECT_THAT(Collect(), StatusIs(absl::StatusCode::kNotFound,
                                  HasSubstr("/etc/machine-id")));
}

}  // namespace
}  // namespace live_update
