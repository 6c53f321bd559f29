// Preserved memory in a DAX file system: guest RAM is files whose pages are not
// cached but are the medium itself, a range of RAM that memmap= keeps from
// every kernel. Works on any kernel with the pmem driver, and between any two.
//
// What is kept is kept by name. A file lives as long as it has a name or a
// user; QEMU is its user and libvirt removes the name it gave when the domain
// goes. So PreserveRam() gives the file a name of ours, and the VM's later
// owner hands it back (dax_store.h has the layout).
//
// The same code works on any directory, as backend "directory": what it keeps
// outlives processes, but not the kernel. For tests, and for updates that only
// replace QEMU.

#ifndef STATE_PRESERVE_DAX_MEMORY_H_
#define STATE_PRESERVE_DAX_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state_preserve/dax_store.h"
#include "state_preserve/preserved_memory.h"

namespace live_update {

struct DaxMemoryOptions {
  std::string mount = "/var/lib/host-update/ram";

  // False: any directory will do (backend "directory").
  bool requires_dax = true;

  // /proc/sys/kernel/random/boot_id if empty. Tests play other boots.
  std::string boot_id;
};

class DaxMemory final : public PreservedMemory {
 public:
  // kNotFound: no such directory. kFailedPrecondition: it can't keep memory
  // over a kexec; the message says what to do.
  static absl::StatusOr<std::unique_ptr<DaxMemory>> Open(
      const DaxMemoryOptions& options);

  absl::string_view backend() const override;
  absl::StatusOr<std::unique_ptr<OutgoingPreservation>> Begin(
      absl::string_view update_id) override;
  absl::Status DiscardStaleOutgoing() override;
  absl::StatusOr<bool> HasHandover() override;
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> Retrieve() override;
  absl::StatusOr<std::unique_ptr<IncomingPreservation>> RetrieveInThisBoot(
      absl::string_view update_id) override;
  absl::StatusOr<std::vector<std::unique_ptr<IncomingPreservation>>>
  Unfinished() override;
  absl::StatusOr<uint64_t> CollectGarbage() override;
  absl::StatusOr<std::string> CopyPath(absl::string_view vm_uuid) override;
  absl::StatusOr<std::vector<std::string>> Copies() override;
  absl::Status RemoveCopy(absl::string_view vm_uuid) override;
  absl::StatusOr<uint64_t> FreeBytes() override;

 private:
  explicit DaxMemory(std::shared_ptr<const DaxStore> store)
      : store_(std::move(store)) {}

  const std::shared_ptr<const DaxStore> store_;
};

}  // namespace live_update

#endif  // STATE_PRESERVE_DAX_MEMORY_H_
