// A small handover with a bit of everything in it, for tests, the golden file
// and the fuzzer's corpus.

#ifndef STATE_PRESERVE_EXAMPLE_HANDOVER_H_
#define STATE_PRESERVE_EXAMPLE_HANDOVER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "state_preserve/format.h"
#include "state_preserve/handover.pb.h"
#include "state_preserve/handover_key.h"

namespace live_update {

struct ExampleVm {
  VmRecord record;
  std::string device_state;
  std::vector<AuxiliaryRam> auxiliary;
  std::optional<RamDigests> ram_digests;
};

// Two VMs: "web-1" with RAM in place, firmware and video RAM as auxiliary
// blocks; "db-1", paused, with RAM in place only. The numbers are never
// changed: testdata/v1.handover is made of them.
HostRecord ExampleHost();
std::vector<ExampleVm> ExampleVms();

// The same two with digests of their RAM: pages of web-1's, all of db-1's.
// testdata/v2*.handover are made of them.
std::vector<ExampleVm> ExampleVmsWithDigests();

// The 32 bytes 0x00 to 0x1f, with which testdata/v2_authenticated.handover is
// made; and another.
HandoverKey ExampleKey();
HandoverKey OtherKey();

struct WriteHandoverOptions {
  uint32_t version = kHandoverVersion;
  const HandoverKey* key = nullptr;
};

// A committed image, exactly as long as it says.
absl::StatusOr<std::vector<uint8_t>> WriteHandover(
    const HostRecord& host, absl::Span<const ExampleVm> vms,
    const WriteHandoverOptions& options = {});

}  // namespace live_update

#endif  // STATE_PRESERVE_EXAMPLE_HANDOVER_H_
