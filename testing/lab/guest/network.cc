#include "testing/lab/guest/network.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>

#include "testing/lab/guest/console.h"

namespace {

bool SetAddress(
    int fd, unsigned long request,
    const char* address) {  // NOLINT(google-runtime-int): ioctl's type.
  ifreq request_body{};
  std::strncpy(request_body.ifr_name, "eth0", IFNAMSIZ - 1);
  sockaddr_in value{};
  value.sin_family = AF_INET;
  if (inet_pton(AF_INET, address, &value.sin_addr) != 1) return false;
  std::memcpy(&request_body.ifr_addr, &value, sizeof(value));
  return ioctl(fd, request, &request_body) == 0;
}

// Speaks first: who hears it knows that the connection is there at both ends.
void Echo(int connection) {
  const int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  constexpr char kGreeting[] = "ready\n";
  constexpr ssize_t kGreetingBytes = sizeof(kGreeting) - 1;
  std::array<char, 4096> buffer{};
  bool up = write(connection, kGreeting, kGreetingBytes) == kGreetingBytes;
  while (up) {
    const ssize_t got = read(connection, buffer.data(), buffer.size());
    up = got > 0 && write(connection, buffer.data(), got) == got;
  }
  close(connection);
}

}  // namespace

bool BringUp(const char* address) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq flags{};
  std::strncpy(flags.ifr_name, "eth0", IFNAMSIZ - 1);
  flags.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool up = fd >= 0 && SetAddress(fd, SIOCSIFADDR, address) &&
                  SetAddress(fd, SIOCSIFNETMASK, "255.255.255.0") &&
                  ioctl(fd, SIOCSIFFLAGS, &flags) == 0;
  if (up) {
    Print("NET address=%s", address);
  } else {
    PrintFailure("eth0");
  }
  close(fd);
  return up;
}

void DialForever(const char* address, uint16_t port) {
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_port = htons(port);
  inet_pton(AF_INET, address, &server.sin_addr);
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  for (unsigned connection = 1;; ++connection) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, reinterpret_cast<sockaddr*>(&server), sizeof(server)) ==
        0) {
      unsigned echoed = 0;
      for (char byte = 'x'; write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1;
           std::this_thread::sleep_for(std::chrono::milliseconds(500))) {
        if (++echoed % 10 == 1) {
          Print("DIAL connection=%u echoed=%u", connection, echoed);
        }
      }
      Print("DIAL connection=%u lost=1", connection);
    }
    close(fd);
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

void ServeEcho(uint16_t port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  if (listener < 0 ||
      bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0 ||
      listen(listener, 8) != 0) {
    return PrintFailure("echo server");
  }
  for (;;) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) std::thread(Echo, connection).detach();
  }
}
