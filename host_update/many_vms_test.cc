// A host of a thousand VMs takes ten times as long and as much memory as one of
// a hundred, not a hundred times.

#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "testing/fake_host.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::FakeHost;
using ::live_update::testing::IsOk;

// Bytes that the program has allocated. 0: a sanitizer's allocator doesn't say.
int64_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

// Of all of this process: what else the machine does is not in it.
absl::Duration CpuTime() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

struct Cost {
  absl::Duration update;
  absl::Duration restore;
  int64_t held_bytes = 0;  // By the update at the jump, where it holds most.
};

// A whole update of `count` VMs there, with all of them back.
Cost Update(int count) {
  Cost cost;
  FakeHost host;
  for (int i = 0; i < count; ++i) {
    host.hypervisor().AddVm(absl::StrCat("vm", i), VmState::kRunning, "memory");
  }
  UpdateRequest request = host.Request();
  request.state_bytes_per_vm = 16 << 10;
  const int64_t before = AllocatedBytes();
  host.OnEntering(Phase::kJump,
                  [&] { cost.held_bytes = AllocatedBytes() - before; });
  absl::Duration start = CpuTime();
  EXPECT_THAT(LiveUpdate(request, host.deps()).status, IsOk());
  cost.update = CpuTime() - start;
  host.Kexec(1);
  start = CpuTime();
  const absl::StatusOr<UpdateReport> report =
      RestoreAll(host.clock().Sample(), host.deps());
  cost.restore = CpuTime() - start;
  EXPECT_THAT(report, IsOk());
  if (report.ok()) {
    EXPECT_EQ(report->result(), UpdateReport::UPDATED);
    EXPECT_EQ(report->vms_size(), count);
  }
  return cost;
}

// The least of some runs: what the machine does besides only adds.
Cost BestOf(int runs, int count) {
  Cost best = Update(count);
  for (int i = 1; i < runs; ++i) {
    const Cost cost = Update(count);
    best.update = std::min(best.update, cost.update);
    best.restore = std::min(best.restore, cost.restore);
  }
  return best;
}

// Ten times as many VMs; quadratic would be 100.
constexpr double kLinear = 20;

TEST(ManyVmsTest, TimeAndMemoryGrowAsVmsDo) {
  const Cost hundred = BestOf(3, 100);
  const Cost thousand = BestOf(2, 1000);
  EXPECT_LT(thousand.update / hundred.update, kLinear)
      << thousand.update << " against " << hundred.update;
  EXPECT_LT(thousand.restore / hundred.restore, kLinear)
      << thousand.restore << " against " << hundred.restore;
  EXPECT_LT(static_cast<double>(thousand.held_bytes),
            kLinear * static_cast<double>(hundred.held_bytes) + 1);
  absl::PrintF("100 VMs: %s + %s, %d bytes; 1000 VMs: %s + %s, %d bytes\n",
               absl::FormatDuration(hundred.update),
               absl::FormatDuration(hundred.restore), hundred.held_bytes,
               absl::FormatDuration(thousand.update),
               absl::FormatDuration(thousand.restore), thousand.held_bytes);
}

}  // namespace
}  // namespace live_update
