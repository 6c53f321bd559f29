// The kernel's Live Update Orchestrator, /dev/liveupdate: the seam at which a
// test puts LuoFakeKernel (luo_fake_kernel.h).
//
// A session is a named set of preserved files. In the old kernel it lasts as
// long as somebody has it open, and has to be open at the kexec. In the new one
// it waits to be retrieved, once; then too it lasts as long as somebody has it
// open, and its end frees those of its files that nobody else holds.
//
// A session is nothing but its descriptor: duplicates, in whatever process, are
// the same session.

#ifndef STATE_PRESERVE_LUO_DEVICE_H_
#define STATE_PRESERVE_LUO_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace live_update {

// Calls may come from several threads. Closes its descriptor when it goes.
class LuoSession {
 public:
  virtual ~LuoSession() = default;

  // For others to hold.
  virtual const UniqueFd& fd() const = 0;

  // Puts `file` under protection, while it is in use: unlinked shmem (a memfd).
  // Its pages become resident and pinned, which takes time by its size. `file`
  // stays the caller's; its contents may change until the kexec, its size may
  // not. On failure it is as before. kFailedPrecondition: not such a file, or
  // preserved already; kAlreadyExists: a used token; kResourceExhausted.
  virtual absl::Status Preserve(const UniqueFd& file, uint64_t token) = 0;

  // The file of `token`, open for reading and writing. As often as one likes:
  // each time the same file. kNotFound: no such token, or finished. kDataLoss:
  // it failed, and the kernel will not try again. kResourceExhausted: this
  // process has no descriptor left; try again.
  virtual absl::StatusOr<UniqueFd> Retrieve(uint64_t token) = 0;

  // Ends the protection: files live on as long as they have users. After it
  // nothing more can be retrieved.
  virtual absl::Status Finish() = 0;
};

// Only one process may have the device open; keep it no longer than needed.
class LuoDevice {
 public:
  virtual ~LuoDevice() = default;

  // `name` has 1 to 63 bytes. kAlreadyExists: an outgoing session of this name
  // is open; kResourceExhausted.
  virtual absl::StatusOr<std::unique_ptr<LuoSession>> CreateSession(
      const std::string& name) = 0;

  // Takes over what the last kernel preserved under `name`. kNotFound: nothing,
  // or finished; kUnavailable: retrieved already and held by some process.
  virtual absl::StatusOr<std::unique_ptr<LuoSession>> RetrieveSession(
      const std::string& name) = 0;
};

class LuoKernel {
 public:
  virtual ~LuoKernel() = default;

  // kUnavailable: another process has the device open. kNotFound: this kernel
  // has none. kDataLoss: the kernel can't read what the last one left.
  virtual absl::StatusOr<std::unique_ptr<LuoDevice>> OpenDevice() = 0;

  // A session that was handed over as a descriptor.
  virtual std::unique_ptr<LuoSession> AdoptSession(UniqueFd fd) = 0;
};

// The kernel we run on. `device_path` is /dev/liveupdate.
std::unique_ptr<LuoKernel> NewLuoKernel(const std::string& device_path);

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_DEVICE_H_
