#include "host_update/service/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include <chrono>
#include <memory>

#include "base/log.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/server_posix.h"

namespace live_update {
namespace {

constexpr int kLargestMessage = 64 << 10;  // Bytes, of a client's.
constexpr int kMostThreads = 16;  // Of one connection; a stream needs one.
constexpr int kMostStreams = 12;
constexpr auto kGrace = std::chrono::milliseconds(200);

}  // namespace

void ServeConnection(UniqueFd socket, const Caller& caller, Access access,
                     const ServiceParts& parts, const WakeUp& stop) {
  // gRPC owns and closes the one; the other is for us to see the end.
  const UniqueFd watched(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!watched.ok()) {
    LogWarning("a connection is refused: no descriptor is left for it");
    return;
  }
  HostUpdateService service(parts, caller, access);
  grpc::ResourceQuota quota("connection");
  quota.SetMaxThreads(kMostThreads);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(kLargestMessage);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMostStreams);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    LogError("a connection is refused: gRPC made no server for it");
    return;
  }
  grpc::AddInsecureChannelFromFd(server.get(), socket.Release());

  pollfd events[] = {{.fd = watched.get(), .events = POLLRDHUP, .revents = 0},
                     {.fd = stop.fd(), .events = POLLIN, .revents = 0}};
  while (poll(events, 2, -1) < 0 && errno == EINTR) {
  }
  server->Shutdown(std::chrono::system_clock::now() + kGrace);
  server->Wait();
}

}  // namespace live_update
