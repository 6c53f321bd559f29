// libvirt's save image: what `virsh save` writes and virDomainRestoreFlags
// reads.
//
// As src/qemu/qemu_saveimage.h of libvirt 11.3.0 has it (unchanged since 0.9),
// all numbers in the host's byte order:
//
//   offset  0  "LibvirtQemudSave"
//          16  u32 version, 2
//          20  u32 length of the XML with its NUL
//          24  u32 whether the VM ran
//          28  u32 format of what follows, 0: QEMU's stream as it is
//          32  u32 offset of a cookie, 0: none
//          36  14 × u32, zero
//          92  XML, NUL
//              QEMU's main migration stream

#ifndef HOST_UPDATE_LIBVIRT_SAVE_IMAGE_H_
#define HOST_UPDATE_LIBVIRT_SAVE_IMAGE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update {

// kInvalidArgument: `domain_xml` is empty, has a NUL in it or more than 4 MiB.
absl::StatusOr<std::string> ComposeSaveImage(absl::string_view domain_xml,
                                             bool was_running,
                                             absl::string_view device_state);

// Writes it with mode 0600. After a failure there is no such file, or the one
// that was there before.
absl::Status WriteSaveImage(const std::string& path,
                            absl::string_view domain_xml, bool was_running,
                            absl::string_view device_state);

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_SAVE_IMAGE_H_
