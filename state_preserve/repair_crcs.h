// Makes a damaged image pass its CRCs again, so that tests and the fuzzer reach
// what lies behind them.

#ifndef STATE_PRESERVE_REPAIR_CRCS_H_
#define STATE_PRESERVE_REPAIR_CRCS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "state_preserve/handover_key.h"

namespace live_update {

// Sets the magic and every CRC of `image` that can be found: of the header, of
// the records of the host section, of the records of each section that the
// directory names. Changes nothing else; copes with any bytes.
void RepairCrcs(absl::Span<uint8_t> image);

// The same, and signs it again with `key`: sets the digests of all sections,
// the key's id and the MAC, if there is a kAuthentication record of a right
// size.
void RepairCrcsAndMac(const HandoverKey& key, absl::Span<uint8_t> image);

}  // namespace live_update

#endif  // STATE_PRESERVE_REPAIR_CRCS_H_
