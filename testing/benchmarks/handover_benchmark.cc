// What the handover itself costs, which lies in the blackout: writing and
// reading it for many VMs beside a mere copy of as many bytes, and the digests
// of guest RAM.
//
//   bazel run -c opt //testing/benchmarks:handover_benchmark

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"
#include "benchmark/benchmark.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/handover_writer.h"
#include "state_preserve/ram_digest.h"
#include "testing/memory_file.h"

namespace live_update {
namespace {

// As in the lab, device state and small blocks together.
constexpr size_t kDeviceStateBytes = 336 << 10;

std::vector<ExampleVm> ManyVms(int64_t count) {
  std::vector<ExampleVm> vms;
  for (int64_t i = 0; i < count; ++i) {
    ExampleVm vm = ExampleVms()[0];
    vm.record.set_name(absl::StrFormat("vm%d", i));
    vm.record.set_uuid(absl::StrFormat("00000000-0000-4000-8000-%012d", i));
    vm.record.set_domain_xml(std::string(16 << 10, 'x'));
    vm.device_state.assign(kDeviceStateBytes, 'd');
    vms.push_back(std::move(vm));
  }
  return vms;
}

std::vector<uint8_t> AreaFor(int64_t count) {
  return std::vector<uint8_t>((count + 1) * (kDeviceStateBytes + (64 << 10)));
}

// Bytes of the image; 0: it could not be written.
uint64_t Write(absl::Span<const ExampleVm> vms, std::vector<uint8_t>& area) {
  auto writer = HandoverWriter::Create(absl::MakeSpan(area));
  if (!writer.ok()) return 0;
  for (const ExampleVm& vm : vms) {
    if (!(*writer)->AddVm(vm.record, vm.device_state, vm.auxiliary).ok()) {
      return 0;
    }
  }
  const auto size = (*writer)->Finish(ExampleHost());
  return size.ok() && (*writer)->Commit().ok() ? *size : 0;
}

void BM_WriteHandover(benchmark::State& state) {
  const auto vms = ManyVms(state.range(0));
  auto area = AreaFor(state.range(0));
  uint64_t size = 0;
  for (auto _ : state) {
    size = Write(vms, area);
    if (size == 0) return state.SkipWithError("not written");
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size));
}
BENCHMARK(BM_WriteHandover)->RangeMultiplier(10)->Range(1, 1000);

void BM_ReadHandover(benchmark::State& state) {
  auto area = AreaFor(state.range(0));
  const uint64_t size = Write(ManyVms(state.range(0)), area);
  for (auto _ : state) {
    const auto reader = HandoverReader::Open(area);
    if (!reader.ok()) return state.SkipWithError("not read");
    for (size_t i = 0; i < reader->vms().size(); ++i) {
      if (!reader->ReadVm(i).ok()) return state.SkipWithError("no VM");
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size));
}
BENCHMARK(BM_ReadHandover)->RangeMultiplier(10)->Range(1, 1000);

// The least that writing as many bytes can cost.
void BM_CopyHandover(benchmark::State& state) {
  auto area = AreaFor(state.range(0));
  const uint64_t size = Write(ManyVms(state.range(0)), area);
  std::vector<uint8_t> copy(area.size());
  for (auto _ : state) {
    std::memcpy(copy.data(), area.data(), size);
    benchmark::DoNotOptimize(copy.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size));
}
BENCHMARK(BM_CopyHandover)->RangeMultiplier(10)->Range(1, 1000);

// Of a VM of so many MiB, all pages of which are there.
void DigestRam(benchmark::State& state, RamCoverage coverage) {
  const uint64_t size = static_cast<uint64_t>(state.range(0)) << 20;
  const UniqueFd ram = testing::MakeMemfd(std::string(size, 'r'));
  const std::vector<RamToDigest> blocks = {{"pc.ram", size, &ram}};
  for (auto _ : state) {
    if (!DigestRam(blocks, coverage, "seed", 1, absl::InfiniteFuture()).ok()) {
      return state.SkipWithError("not digested");
    }
  }
}
BENCHMARK_CAPTURE(DigestRam, sample, RamCoverage::kSample)->Arg(256)->Arg(1024);
BENCHMARK_CAPTURE(DigestRam, all, RamCoverage::kAll)->Arg(256)->Arg(1024);

}  // namespace
}  // namespace live_update

BENCHMARK_MAIN();
