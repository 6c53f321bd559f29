// A handover image as text or JSON, without any guest memory.

#ifndef STATE_PRESERVE_HANDOVER_TEXT_H_
#define STATE_PRESERVE_HANDOVER_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "state_preserve/handover_reader.h"

namespace live_update {

struct HandoverTextOptions {
  // Else only its size: it may hold secrets (a VNC password).
  bool with_domain_xml = false;
  // What VerifyStoredRam() says of each VM, in the image's order. Empty: nobody
  // has asked.
  std::vector<absl::Status> ram_verdicts;
};

// For people. Torn VMs are shown with their reason.
std::string HandoverToText(const HandoverReader& reader,
                           const HandoverTextOptions& options);

// One object, ended by a newline:
//   {"version", "total_size",
//    "authentication": null or {"algorithm", "key_id", "verified"},
//    "host": HostRecord,
//    "vms": [{"name", "uuid", "offset", "size",
//             "error": "…" or
//             "record": VmRecord, "device_state": {"bytes", "crc32c"},
//             "auxiliary": [{"name", "bytes", "stored_bytes", "crc32c"}],
//             "ram_digests": null or {"hash", "chunk_bytes", "all_chunks",
//                                     "digests", "digest_s"},
//             "ram": null or "ok" or "…"}]}
// with records as protobuf's JSON, fields named as in handover.proto.
std::string HandoverToJson(const HandoverReader& reader,
                           const HandoverTextOptions& options);

// VMs whose section can't be read.
size_t CountTornVms(const HandoverReader& reader);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_TEXT_H_
