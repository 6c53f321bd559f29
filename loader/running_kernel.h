// The running kernel, read as a target is: a live update by memfds works only
// between kernels that write and read the same ABI strings, and nothing but
// the running kernel itself tells its own.
//
// Nothing is guessed. An installed image counts only if it is the running
// kernel's: same build id, same banner (a package upgrade puts another one in
// its place). If there is none, the kernel's own memory is read.

#ifndef LOADER_RUNNING_KERNEL_H_
#define LOADER_RUNNING_KERNEL_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/kernel_facts.h"

namespace live_update::loader {

struct RunningKernel {
  KernelFacts facts;
  // How it was read and why that is the running one; ends a sentence: "read
  // from /boot/vmlinuz-7.3.4, by build id 4a5a… and banner the running one".
  std::string how;
};

// Reads it below `root` ("" but in tests). `release` is uname -r's.
// kFailedPrecondition: it can't be established, with what was tried.
absl::StatusOr<RunningKernel> ReadRunningKernel(const std::string& root,
                                                const std::string& release);

// Where a /proc/kcore has the kernel's own text and data.
struct KcoreText {
  uint64_t offset = 0;  // In the file.
  uint64_t size_bytes = 0;
};

// How much of a kcore FindKcoreText wants to see: ELF header and the program
// headers of a host with very many memory ranges.
inline constexpr uint64_t kMaxKcoreHeaders = uint64_t{1} << 20;

// Finds it in the first bytes of a kcore. kInvalidArgument: no x86-64 kcore, or
// its program headers do not lie in `start`; kNotFound: it has no such segment.
absl::StatusOr<KcoreText> FindKcoreText(absl::Span<const uint8_t> start);

}  // namespace live_update::loader

#endif  // LOADER_RUNNING_KERNEL_H_
