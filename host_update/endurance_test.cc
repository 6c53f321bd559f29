// A thousand updates that are taken back leave nothing behind: no descriptor,
// no file, no memory. And the one after them works.

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/history.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized =
    true;  // Slow, and freed memory is kept for a while.
#else
constexpr bool kSanitized = false;
#endif

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;
using ::testing::IsEmpty;

constexpr int kCycles = kSanitized ? 100 : 1000;
// Caches and the allocator's arenas fill.
constexpr int kWarmUp = kCycles / 10;
// All of a cycle's own allocations leaked would be some 50 KiB each.
constexpr int64_t kMayGrowBytes = int64_t{kCycles} * 4096;

constexpr char kMemory[] = "what the guest had in its memory";

size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

size_t Files(const std::string& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::recursive_directory_iterator(folder)) {
    ++count;
  }
  return count;
}

struct Cycle {
  const char* name;
  FakeHost::Backend backend;
  bool prepare_only;  // Else: paused, saved, committed, and taken back.
};

class EnduranceTest : public ::testing::TestWithParam<Cycle> {
 protected:
  EnduranceTest() : host_(GetParam().backend) {
    host_.hypervisor().AddVm("vm1", VmState::kRunning, kMemory);
    host_.hypervisor().AddVm("vm2", VmState::kPaused, kMemory);
  }

  struct Footprint {
    size_t descriptors = 0;
    size_t files = 0;
    int64_t resident_bytes = 0;
  };
  Footprint Measure() {
    // The run folder, the state folder, and what is preserved.
    return {
        .descriptors = OpenDescriptors(),
        .files = Files(
            std::filesystem::path(host_.deps().paths.run_dir).parent_path()),
        .resident_bytes = ResidentBytes()};
  }

  void Run(int cycles) {
    UpdateRequest request = host_.Request();
    request.prepare_only = GetParam().prepare_only;
    if (!request.prepare_only) host_.FailOn(Phase::kJump);
    for (int i = 0; i < cycles; ++i) {
      const UpdateReport report = LiveUpdate(request, host_.deps()).report;
      ASSERT_EQ(report.result(), request.prepare_only
                                     ? UpdateReport::PREPARED
                                     : UpdateReport::FAILED_UNHARMED)
          << "cycle " << i << ": " << report.DebugString();
    }
    host_.StopFailing();
  }

  FakeHost host_;
};

TEST_P(EnduranceTest, CyclesLeaveNothing) {
  ASSERT_NO_FATAL_FAILURE(Run(kWarmUp));
  const Footprint before = Measure();
  ASSERT_NO_FATAL_FAILURE(Run(kCycles));
  const Footprint after = Measure();
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.files, before.files);
  const int64_t grown = after.resident_bytes - before.resident_bytes;
  RecordProperty("grown_bytes", std::to_string(grown));
  if (!kSanitized) {
    EXPECT_LT(grown, kMayGrowBytes);
  }

  EXPECT_EQ(host_.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(host_.hypervisor().vm("vm2").info.state, VmState::kPaused);
  EXPECT_FALSE(*host_.kexec().IsStaged());
  EXPECT_THAT(host_.LeftInPreservedMemory(), IsEmpty());
  EXPECT_THAT(host_.luo_kernel().Outgoing(), IsEmpty());
  EXPECT_EQ(host_.luo_kernel().FileCount(), 0);

  ASSERT_THAT(LiveUpdate(host_.Request(), host_.deps()).status, IsOk());
  host_.Kexec(1);
  ASSERT_OK_AND_ASSIGN(const UpdateReport report,
                       RestoreAll(host_.clock().Sample(), host_.deps()));
  EXPECT_EQ(report.result(), UpdateReport::UPDATED) << report.DebugString();
  EXPECT_EQ(host_.hypervisor().Memory("vm1"), kMemory);
  EXPECT_EQ(host_.hypervisor().vm("vm1").info.state, VmState::kRunning);
  EXPECT_EQ(host_.hypervisor().vm("vm2").info.state, VmState::kPaused);
}

INSTANTIATE_TEST_SUITE_P(
    Cycles, EnduranceTest,
    ::testing::Values(
        Cycle{"PrepareOnDax", FakeHost::Backend::kDirectory, true},
        Cycle{"PauseAndSaveOnDax", FakeHost::Backend::kDirectory, false},
        Cycle{"PrepareOnLuo", FakeHost::Backend::kLuo, true},
        Cycle{"PauseAndSaveOnLuo", FakeHost::Backend::kLuo, false}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(HistoryTest, ReportsAreTheOwnersAlone) {
  FakeHost host;
  const std::string& state = host.deps().paths.state_dir;
  UpdateReport report;
  report.set_update_id("an-update");
  ASSERT_THAT(WriteReport(state, report), IsOk());
  using std::filesystem::perms;
  for (const char* name :
       {"/history", "/history/an-update.json", "/history/last"}) {
    EXPECT_EQ(std::filesystem::status(state + name).permissions() &
                  (perms::group_all | perms::others_all),
              perms::none)
        << name;
  }
}

TEST(HistoryTest, ForgetsTheOldestFailuresAndNothingElse) {
  FakeHost host;
  const std::string& state = host.deps().paths.state_dir;
  auto write = [&](const std::string& id, UpdateReport::Result result) {
    UpdateReport report;
    report.set_update_id(id);
    report.set_result(result);
    EXPECT_THAT(WriteReport(state, report), IsOk());
    const auto now = std::filesystem::file_time_type::clock::now();
    std::filesystem::last_write_time(state + "/history/" + id + ".json",
                                     now - std::chrono::hours(1));
  };
  write("old-update", UpdateReport::UPDATED);
  write("old-partial", UpdateReport::PARTIAL);
  write("old-failure", UpdateReport::FAILED_UNHARMED);
  for (const char* id : {"a", "b", "c"}) {
    write(id, UpdateReport::FAILED_UNHARMED);
    std::filesystem::last_write_time(
        state + "/history/" + id + ".json",
        std::filesystem::file_time_type::clock::now());
  }
  ForgetOldFailures(state, /*keep=*/6);
  EXPECT_THAT(ReadReport(state, "old-failure"), IsOk());
  ForgetOldFailures(state, /*keep=*/3);
  EXPECT_FALSE(ReadReport(state, "old-failure").ok());
  for (const char* id : {"old-update", "old-partial", "a", "b", "c"}) {
    EXPECT_THAT(ReadReport(state, id), IsOk()) << id;
  }
}

}  // namespace
}  // namespace live_update
