// What reading a target kernel costs, which lies before the pause.
//
//   bazel run -c opt //testing/benchmarks:kernel_benchmark
//
// The kernels in /boot are read as well, if there are any.

#include <fcntl.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "base/unique_fd.h"
#include "benchmark/benchmark.h"
#include "loader/command_line.h"
#include "loader/kernel_reading.h"
#include "loader/test_kernels.h"
#include "testing/memory_file.h"

namespace live_update::loader {
namespace {

void ReadKernel(benchmark::State& state, const UniqueFd& file) {
  for (auto _ : state) {
    lseek(file.get(), 0, SEEK_SET);
    if (!ReadKernelFile(file).facts.ok()) {
      return state.SkipWithError("not read");
    }
  }
}

void BM_ReadSmallestKernel(benchmark::State& state) {
  ReadKernel(state, testing::MakeMemfd(MakeWholeKernel()));
}
BENCHMARK(BM_ReadSmallestKernel);

void BM_TargetCommandLine(benchmark::State& state) {
  const std::string running =
      "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet memmap=64G!64G "
      "console=ttyS0 crashkernel=512M init=/sbin/init";
  for (auto _ : state) {
    benchmark::DoNotOptimize(TargetCommandLine(running, "quiet loglevel=3"));
  }
}
BENCHMARK(BM_TargetCommandLine);

void RegisterKernelsOfThisMachine() {
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator("/boot", ignored)) {
    const std::string path = entry.path();
    if (entry.path().filename().string().rfind("vmlinuz-", 0) != 0) continue;
    benchmark::RegisterBenchmark(path.c_str(), [path](benchmark::State& state) {
      ReadKernel(state, UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC)));
    });
  }
}

}  // namespace
}  // namespace live_update::loader

int main(int argc, char** argv) {
  live_update::loader::RegisterKernelsOfThisMachine();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
