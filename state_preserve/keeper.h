// A small process that holds descriptors over the death of whoever gave them to
// it, and hands duplicates out again.
//
// Live Update Orchestrator sessions need it: once retrieved, a session lasts as
// long as somebody has it open, and its end frees the guest RAM that nobody has
// retrieved. The program that restores may die, and an operator may come back
// hours later to retry one VM; so a process that does nothing else and has
// nothing to fail at keeps them (keeper_client.h talks to it).
//
// It holds no other descriptor, no mapping that was not there when it was
// started, and is exempt from the out-of-memory killer where it may be. SIGTERM
// ends it: at shutdown there is nothing left to keep.

#ifndef STATE_PRESERVE_KEEPER_H_
#define STATE_PRESERVE_KEEPER_H_

#include <string>

#include "absl/status/status.h"

namespace live_update {

// Starts a keeper that listens on `socket_path` (0600, replaces what has that
// name) and is a child of init in a session of its own. It listens when this
// returns. It ends by itself when the last descriptor is dropped, or if none
// came within half a minute, and takes `socket_path` away then. May be called
// with other threads running. On failure nothing is started, and `socket_path`
// is as it was or of no use.
//
// WARNING: two keepers on one path don't know of each other, and the first can
// no longer be reached. Whoever starts one makes sure that none runs.
absl::Status StartKeeper(const std::string& socket_path);

}  // namespace live_update

#endif  // STATE_PRESERVE_KEEPER_H_
