// How an update grows with the host's VMs, with fakes for all that is not this
// program: its own part, from the check to the report. Complexity is fitted.
//
//   bazel run -c opt //testing/benchmarks:many_vms_benchmark 2>/dev/null

#include <malloc.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "host_update/live_update.h"
#include "host_update/restore.h"
#include "testing/fake_host.h"

namespace live_update {
namespace {

using testing::FakeHost;

int64_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

void AddVms(int64_t count, FakeHost& host) {
  for (int64_t i = 0; i < count; ++i) {
    host.hypervisor().AddVm(absl::StrCat("vm", i), VmState::kRunning, "memory");
  }
}

UpdateRequest SmallStates(const FakeHost& host) {
  UpdateRequest request = host.Request();
  request.state_bytes_per_vm = 16 << 10;
  return request;
}

// From the check to the jump.
void BM_Update(benchmark::State& state) {
  int64_t held_bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    FakeHost host;
    AddVms(state.range(0), host);
    const UpdateRequest request = SmallStates(host);
    const int64_t before = AllocatedBytes();
    host.OnEntering(Phase::kJump,
                    [&] { held_bytes = AllocatedBytes() - before; });
    state.ResumeTiming();
    if (!LiveUpdate(request, host.deps()).status.ok()) {
      return state.SkipWithError("no update");
    }
  }
  state.SetComplexityN(state.range(0));
  state.counters["bytes_per_vm"] =
      static_cast<double>(held_bytes) / static_cast<double>(state.range(0));
}
BENCHMARK(BM_Update)
    ->RangeMultiplier(10)
    ->Range(10, 1000)
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond)
    ->Complexity();

// From the handover to the report.
void BM_Restore(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    FakeHost host;
    AddVms(state.range(0), host);
    if (!LiveUpdate(SmallStates(host), host.deps()).status.ok()) {
      return state.SkipWithError("no update");
    }
    host.Kexec(1);
    state.ResumeTiming();
    if (!RestoreAll(host.clock().Sample(), host.deps()).ok()) {
      return state.SkipWithError("no restore");
    }
  }
  state.SetComplexityN(state.range(0));
}
BENCHMARK(BM_Restore)
    ->RangeMultiplier(10)
    ->Range(10, 1000)
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond)
    ->Complexity();

}  // namespace
}  // namespace live_update

BENCHMARK_MAIN();
