// One client's connection: a gRPC server of its own, so that who is calling is
// known for certain. gRPC itself does not tell it for UNIX sockets, and a
// descriptor's number is no name: it is used again.

#ifndef HOST_UPDATE_SERVICE_CONNECTION_H_
#define HOST_UPDATE_SERVICE_CONNECTION_H_

#include "base/unique_fd.h"
#include "host_update/qemu/unix_socket.h"
#include "host_update/service/caller.h"
#include "host_update/service/host_update_service.h"

namespace live_update {

// Serves `socket`, a connected UNIX socket in non-blocking mode, until the
// client closes it or `stop` is set.
void ServeConnection(UniqueFd socket, const Caller& caller, Access access,
                     const ServiceParts& parts, const WakeUp& stop);

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_CONNECTION_H_
