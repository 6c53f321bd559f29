// Digests of guest RAM that stays in place: taken while its VM is paused, and
// compared before it runs on in the next kernel. They find memory that
// something wrote to in between, as far as they look; they don't stop a forger.

#ifndef STATE_PRESERVE_RAM_DIGEST_H_
#define STATE_PRESERVE_RAM_DIGEST_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"
#include "state_preserve/handover.pb.h"

namespace live_update {

enum class RamCoverage {
  kNone,
  kSample,  // Some 64 pages of 4 KiB a VM: milliseconds, whatever its size.
  kAll,     // Every byte: as long as it takes to read all RAM.
};

// One block of a VM's RAM. `fd` is the caller's; QEMU has it open as well, so
// it is not trusted to keep its size.
struct RamToDigest {
  std::string name;
  uint64_t size_bytes = 0;
  const UniqueFd* fd = nullptr;
};

// Which pages `coverage` takes, without their digests. A sample has the first
// and the last page of each block, and others by chance, the same ones for the
// same `seed`. kAll takes chunks of 2 MiB, or more with RAM so large that there
// would be more than 65536.
RamDigests PlanRamDigests(absl::Span<const RamToDigest> blocks,
                          RamCoverage coverage, absl::string_view seed);

// Reads RAM that nobody writes to meanwhile, on at most `threads` threads, and
// returns its digests. kOutOfRange: a block is shorter than it says;
// kDeadlineExceeded: not done by `deadline`, and how many bytes were; others by
// errno.
absl::StatusOr<RamDigests> DigestRam(absl::Span<const RamToDigest> blocks,
                                     RamCoverage coverage,
                                     absl::string_view seed, size_t threads,
                                     absl::Time deadline);

// Whether RAM is what it was. `digests` has passed CheckRamDigests() for
// these blocks; those of a hash that is not known here are not looked at.
// kDataLoss: it is not; how many chunks differ, and block and offset of the
// first. kNotFound: a block is not among `blocks`. kOutOfRange and
// kDeadlineExceeded as above; what was done by then is not compared.
absl::Status VerifyRam(const RamDigests& digests,
                       absl::Span<const RamToDigest> blocks, size_t threads,
                       absl::Time deadline);

// For people: "64 pages of 4096 bytes", "all of it, 128 chunks of 2097152
// bytes".
std::string DescribeRamDigests(const RamDigests& digests);

}  // namespace live_update

#endif  // STATE_PRESERVE_RAM_DIGEST_H_
