#ifndef TESTING_LAB_GUEST_NETWORK_H_
#define TESTING_LAB_GUEST_NETWORK_H_

#include <cstdint>

// Gives eth0 the IPv4 address `address` with a 24-bit mask and takes it up.
// Prints a failure and returns false where it can't.
bool BringUp(const char* address);

// Sends back whatever comes in on any connection to TCP `port`. Never returns.
void ServeEcho(uint16_t port);

// Talks to the echo server at `address` ("10.0.2.2") and port, twice a second,
// in one connection while that holds, in the next one after it:
//
//   DIAL connection=1 echoed=10      every ten echoes
//   DIAL connection=1 lost=1         it broke, or was silent for 10 s
[[noreturn]] void DialForever(const char* address, uint16_t port);

#endif  // TESTING_LAB_GUEST_NETWORK_H_
