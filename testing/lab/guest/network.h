#ifndef TESTING_LAB_GUEST_NETWORK_H_
#define TESTING_LAB_GUEST_NETWORK_H_

#include <cstdint>

// Gives eth0 the IPv4 address `address` with a 24-bit mask and takes it up.
// Prints a failure and returns false where it can't.
bool BringUp(const char* address);

// Sends back whatever comes in on any connection to TCP `port`. Never returns.
void ServeEcho(uint16_t port);

#endif  // TESTING_LAB_GUEST_NETWORK_H_
