// The other QEMU of a cpr-transfer, on both sides of a kexec. SaveOverCpr plays
// the QEMU that takes a VM over, CprLoader the one that hands it on:
//
//   QEMU --cpr channel: RAM fds--> SaveOverCpr   ‖   CprLoader --fds--> QEMU
//        --main channel: state-->                    (the state goes by
//        libvirt)
//
// What QEMU does, in 10.0 (qmp_migrate() in migration/migration.c): `migrate`
// connects to the cpr socket and sends it all before it answers; the monitor
// stands still meanwhile. It then waits for a hang-up on that socket, connects
// to the main socket and sends the device state. The incoming QEMU
// (cpr_state_load(), called before the machine is built) listens, takes one
// connection and reads to the end of the list.

#ifndef HOST_UPDATE_QEMU_CPR_PEER_H_
#define HOST_UPDATE_QEMU_CPR_PEER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "host_update/hypervisor.h"
#include "host_update/qemu/qmp.h"
#include "host_update/qemu/unix_socket.h"

namespace live_update {

struct CprSaveOptions {
  // Where the two sockets are made. Must exist, let QEMU's user through, and be
  // writable by root alone: who can put a socket there gets the VM's memory.
  std::string directory;
  // QEMU's user: the only one that may connect.
  uid_t uid = 0;
  gid_t gid = 0;
  PeerCheck check_peer;
  uint64_t max_device_state_bytes = uint64_t{64} << 20;
};

// Takes the RAM fds and the device state out of a paused VM. On success it is
// paused as before, in QEMU's state postmigrate: it can be resumed, and saved
// again after that. On failure it is paused, and can be saved again at once if
// it failed before QEMU had sent everything; nothing of the transfer is under
// way, unless QEMU did not answer (the message says so). The sockets are gone
// in either case.
//
// kFailedPrecondition: QEMU refused, or the transfer failed; QEMU's reason is
// in the message. kDeadlineExceeded; kInvalidArgument, kDataLoss: what came was
// not a whole cpr stream. kPermissionDenied (of check_peer): not QEMU that
// connected.
absl::StatusOr<SavedVm> SaveOverCpr(QmpChannel& channel,
                                    const CprSaveOptions& options,
                                    absl::Time deadline);

// Hands a VM's fds to a QEMU that starts with IncomingCprChannel().
class CprLoader {
 public:
  static absl::StatusOr<CprLoader> Create();

  // Waits until somebody listens at `socket`, checks who, and sends `fds`. They
  // stay the caller's, who can close them after. kDeadlineExceeded,
  // kUnavailable: QEMU hung up; kCancelled: BreakOff().
  //
  // Unless it returns OK, QEMU was not given everything and builds no machine.
  absl::Status Send(const std::string& socket, absl::Span<const CprFd> fds,
                    const PeerCheck& check_peer, absl::Time deadline);

  // Makes a Send() that is under way in another thread, or comes later, return.
  void BreakOff() { wake_up_.Set(); }

 private:
  explicit CprLoader(WakeUp wake_up) : wake_up_(std::move(wake_up)) {}
  WakeUp wake_up_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_CPR_PEER_H_
