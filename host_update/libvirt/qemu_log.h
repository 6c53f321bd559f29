// What QEMU wrote into libvirt's log of a VM since a moment. Private to this
// folder.

#ifndef HOST_UPDATE_LIBVIRT_QEMU_LOG_H_
#define HOST_UPDATE_LIBVIRT_QEMU_LOG_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace live_update {

class QemuLog {
 public:
  // The moment is now. There need be no log yet.
  QemuLog(absl::string_view log_directory, absl::string_view vm_name);

  // The last lines of QEMU's own since then, as "; QEMU's log: …", without
  // those that `known` has already. Empty if there are none.
  std::string NewErrors(absl::string_view known) const;

 private:
  std::string path_;
  uint64_t start_ = 0;  // In bytes.
};

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_QEMU_LOG_H_
