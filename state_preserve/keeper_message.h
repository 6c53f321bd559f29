// How a packet with a descriptor is sent, by a keeper and by its clients.

#ifndef STATE_PRESERVE_KEEPER_MESSAGE_H_
#define STATE_PRESERVE_KEEPER_MESSAGE_H_

#include <cstddef>

namespace live_update {

// Sends the `size` bytes at `data` as one packet, with a duplicate of `fd`,
// which stays the caller's, unless it is negative. System calls only, so that
// the keeper may use it. False: not sent, or not whole; errno says why.
bool SendWithFd(int socket, const void* data, size_t size, int fd);

}  // namespace live_update

#endif  // STATE_PRESERVE_KEEPER_MESSAGE_H_
