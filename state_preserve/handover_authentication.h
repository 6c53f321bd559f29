// What a handover's MAC covers. README.md, "Authentication", is the
// specification.

#ifndef STATE_PRESERVE_HANDOVER_AUTHENTICATION_H_
#define STATE_PRESERVE_HANDOVER_AUTHENTICATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_key.h"

namespace live_update {

// A kAuthentication record.
struct Authentication {
  KeyId key_id{};
  Mac mac{};
  std::vector<SectionDigest> sections;  // In the directory's order.
};

// The body of the record.
std::string SerializeAuthentication(const Authentication& authentication);

// kDataLoss: it has not the size for `vm_count` VMs. kUnimplemented: made by an
// algorithm that is not known here.
absl::StatusOr<Authentication> ParseAuthentication(absl::string_view body,
                                                   uint64_t vm_count);

// The MAC of an image with this header and host section, whose kAuthentication
// record has its header `record_offset` bytes into the section; the caller has
// checked that it lies in it. What is in the record's CRCs and MAC does not
// matter. kInternal: libcrypto failed.
absl::StatusOr<Mac> ComputeMac(const HandoverKey& key,
                               const HandoverHeader& header,
                               absl::Span<const uint8_t> host_section,
                               uint64_t record_offset);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_AUTHENTICATION_H_
