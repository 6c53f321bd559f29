// The directory in which the dax backend keeps everything, and its layout:
//
//   <mount>/host-update/               0700
//     outgoing.new/                    Begin() is at it
//     outgoing/                        at most one
//       boot_id  update_id             written before it gets its name
//       handover                       the image
//       ram/<uuid>/<block>             hard links to guest RAM
//     incoming/<update_id>/            as outgoing, for each unfinished update
//       resumed/<uuid>                 of a VM that was let run: in which boot
//                                      and kernel
//     running/<uuid>/<block>           RAM of running VMs, else nameless
//     copies/<uuid>                    whole VMs, as the hypervisor saved them
//     discarded/                       on its way out
//
// A set changes its state by one rename(2), so a process that is killed leaves
// it in one state or the other. A block is free when its last name and its last
// user are gone.

#ifndef STATE_PRESERVE_DAX_STORE_H_
#define STATE_PRESERVE_DAX_STORE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace live_update {

// A boot's or update's, as they lie in a set.
inline constexpr uint64_t kMaxIdBytes = 100;

inline constexpr char kStoreName[] = "host-update";
inline constexpr char kOutgoingNewName[] = "outgoing.new";
inline constexpr char kOutgoingName[] = "outgoing";
inline constexpr char kIncomingName[] = "incoming";
inline constexpr char kRunningName[] = "running";
inline constexpr char kCopiesName[] = "copies";
inline constexpr char kDiscardedName[] = "discarded";
inline constexpr char kBootIdName[] = "boot_id";
inline constexpr char kUpdateIdName[] = "update_id";
inline constexpr char kHandoverName[] = "handover";
inline constexpr char kRamName[] = "ram";
inline constexpr char kResumedName[] = "resumed";

// Shared by all objects of one backend. Immutable once it is open.
struct DaxStore {
  UniqueFd root;        // <mount>/host-update
  std::string path;     // The same, for messages.
  std::string boot_id;  // Of this boot.
  uint64_t device = 0;  // st_dev of the file system, in this kernel.
  bool requires_dax = true;
};

// Opens or makes the store in `mount`. kNotFound: no such directory;
// kFailedPrecondition: others may write to the store, or `requires_dax` and the
// file system is not mounted so; the message says what to do.
absl::StatusOr<DaxStore> OpenDaxStore(const std::string& mount,
                                      bool requires_dax);

// Whether loads and stores to `fd`'s pages go to the medium itself instead of
// the page cache. kUnimplemented: this kernel can't say (it can since 5.8).
absl::StatusOr<bool> IsDax(const UniqueFd& fd);

enum class OutgoingSet { kNone, kOfThisBoot, kOfAnotherBoot };

// kDataLoss: there is one, but not as Begin() makes it.
absl::StatusOr<OutgoingSet> FindOutgoing(const DaxStore& store);

// Removes `name` in `parent`, a set that is of no use to anyone, or none. What
// it held is not left in free blocks (scrub.h).
absl::Status RemoveSet(const UniqueFd& parent, const std::string& name);

// Removes `name` in `parent`, a set or none, such that it is gone as a whole if
// this is cut off. OK if there is none.
absl::Status DiscardSet(const DaxStore& store, const UniqueFd& parent,
                        const std::string& name);

// Bytes free in the file system.
absl::StatusOr<uint64_t> FreeBytesOf(const DaxStore& store);

// Overwrites and unlinks running/<vm_uuid>/*, as far as nobody has the files
// open: of a VM that is given up.
absl::Status ScrubRunning(const UniqueFd& running, const std::string& vm_uuid);

// Unlinks running/<vm_uuid>/* as far as nobody has the files open, in any
// process, as a descriptor or mapped. Returns the bytes that were freed.
absl::StatusOr<uint64_t> CollectRunning(const UniqueFd& running,
                                        const std::string& vm_uuid);

}  // namespace live_update

#endif  // STATE_PRESERVE_DAX_STORE_H_
