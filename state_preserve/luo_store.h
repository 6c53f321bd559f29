// What both sides of the luo backend share: the kernel, and the keeper's book
// of what was retrieved from it.
//
// The keeper's names are the state of a retrieved update:
//
//   new/hu-handover    the handover session; nobody has called Retrieve() yet
//   hu-handover        the same, after Retrieve(): an incoming set
//   hu-vm-<uuid>       a VM's session
//   left/hu-vm-<uuid>  (the handover session again) this VM's session has still
//                      to be retrieved from the kernel
//
// Each step adds the new name before it takes the old one away, so that a
// program killed in between leaves one state or the other.

#ifndef STATE_PRESERVE_LUO_STORE_H_
#define STATE_PRESERVE_LUO_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "state_preserve/keeper_client.h"
#include "state_preserve/luo_device.h"

namespace live_update {

struct LuoMemoryOptions {
  std::string device = "/dev/liveupdate";

  // Must be of this boot only (a tmpfs): the keeper's socket, a lock, and a
  // note of whether this boot has a handover.
  std::string run_dir = "/run/host-update";

  // /proc/sys/kernel/random/boot_id if empty. Tests play other boots.
  std::string boot_id;

  // How long to wait for another process that has the device open.
  absl::Duration busy_wait = absl::Seconds(5);

  // Tests put a fake here, which stays theirs; `device` is not used then.
  LuoKernel* kernel = nullptr;
};

// All calls from any thread. Of several processes only one at a time can be
// between Lock() and the end of what it returns.
class LuoStore {
 public:
  enum class Handover {
    kNone,      // The last kernel left nothing, or it is finished.
    kNew,       // Retrieved by the keeper, and by nobody else.
    kIncoming,  // Retrieve() was called; not finished.
  };

  // LuoMemory::Open().
  static absl::StatusOr<std::shared_ptr<const LuoStore>> Open(
      const LuoMemoryOptions& options);

  const std::string& boot_id() const { return boot_id_; }
  const KeeperClient& keeper() const { return keeper_; }

  // kUnavailable: another process held it for too long.
  absl::StatusOr<UniqueFd> Lock() const;

  // LuoKernel::OpenDevice(), with patience.
  absl::StatusOr<std::unique_ptr<LuoDevice>> OpenDevice() const;

  // Under Lock(). Finds out what the last kernel left, which the kernel tells
  // only by giving it away: then the keeper has it. No call to the kernel if
  // the answer is known. kDataLoss, once: the keeper died with what it had;
  // kNone from then on.
  absl::StatusOr<Handover> FindHandover() const;

  // Under Lock(). Moves a VM's session from the kernel to the keeper, as far as
  // that has not happened yet. kNotFound: it is lost. After any other failure
  // it is still in the kernel, and marked so.
  absl::Status Collect(const std::string& session, LuoDevice& device) const;

  // A VM's session, from the keeper, or from the kernel if it was left there.
  // kNotFound: neither has it.
  absl::StatusOr<std::unique_ptr<LuoSession>> SessionOf(
      const std::string& session) const;

  // From the keeper; kNotFound.
  absl::StatusOr<std::unique_ptr<LuoSession>> Kept(
      absl::string_view name) const;

  // Finishes the session that the keeper has as `name`, which it then has no
  // longer. OK if it has none. After a failure it has it again.
  absl::Status Finish(const std::string& name) const;

  // From now on FindHandover() need not ask the kernel: this boot has none, or
  // its is finished. No other will come, as sessions are the last kernel's.
  absl::Status NoteNoHandover() const;

  // The file that says that a VM of this update was let run.
  std::string ResumeMarkPath(absl::string_view update_id,
                             absl::string_view vm_uuid) const;

  // Bytes that new memory files could take: MemAvailable.
  static absl::StatusOr<uint64_t> FreeBytes();

  LuoStore(const LuoMemoryOptions& options, std::string boot_id);

 private:
  std::string NotePath() const;
  std::string Note(absl::string_view what) const;

  const std::string run_dir_;
  const std::string boot_id_;
  const absl::Duration busy_wait_;
  const std::unique_ptr<LuoKernel> own_kernel_;
  LuoKernel* const kernel_;
  const KeeperClient keeper_;
};

std::string LuoNewName(absl::string_view session);
std::string LuoLeftName(absl::string_view session);

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_STORE_H_
