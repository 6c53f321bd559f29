// hostupdated: answers clients, and has workers do what they ask for. It holds
// no privileges itself. Started by systemd, with its two listening sockets.

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "host_update/service/authority.h"
#include "host_update/service/connections.h"
#include "host_update/service/daemon_options.h"
#include "host_update/service/operation_runner.h"
#include "host_update/service/operation_store.h"
#include "host_update/service/worker_client.h"
#include "host_update/version.h"

namespace live_update {
namespace {

struct Listener {
  UniqueFd fd;
  bool may_manage = false;
};

// systemd's, by name: "api" and "api-ro".
absl::StatusOr<std::vector<Listener>> TakeListeners() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  std::vector<Listener> listeners;
  for (int i = 0; i < count; ++i) {
    const std::string name = names[i];
    free(names[i]);
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    if (name == "api" || name == "api-ro") {
      listeners.push_back({.fd = std::move(fd), .may_manage = name == "api"});
    } else {
      LogWarning(absl::StrCat("a socket named ", name, " is not known here"));
    }
  }
  free(names);
  if (listeners.empty()) {
    return absl::FailedPreconditionError(
        "no listening socket was given: start it by systemd, with "
        "hostupdated.socket and hostupdated-ro.socket");
  }
  return listeners;
}

// SIGTERM and SIGINT, as a descriptor to poll.
UniqueFd CatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC));
}

int WatchdogMilliseconds() {
  uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) <= 0) return -1;
  return static_cast<int>(std::max<uint64_t>(microseconds / 2000, 1));
}

void TellSystemd(const OperationStore& store) {
  const std::vector<v1::Operation> running = store.Running();
  const std::string status =
      running.empty() ? "idle"
                      : absl::StrCat("operation ", running.front().id(), ": ",
                                     running.front().phase());
  sd_notify(0, absl::StrCat("WATCHDOG=1\nSTATUS=", status).c_str());
}

// Serves until a signal asks to stop.
void Serve(const std::vector<Listener>& listeners, const UniqueFd& signals,
           const DaemonOptions& options, const OperationStore& store,
           Connections& connections) {
  std::vector<pollfd> events;
  events.reserve(listeners.size() + 1);
  for (const Listener& listener : listeners) {
    events.push_back({.fd = listener.fd.get(), .events = POLLIN, .revents = 0});
  }
  events.push_back({.fd = signals.get(), .events = POLLIN, .revents = 0});
  const int watchdog_ms = WatchdogMilliseconds();
  while (true) {
    TellSystemd(store);
    if (poll(events.data(), events.size(), watchdog_ms) < 0 && errno != EINTR) {
      LogError(absl::ErrnoToStatus(errno, "wait for clients").message());
      return;
    }
    if (events.back().revents != 0) return;
    for (size_t i = 0; i < listeners.size(); ++i) {
      if (events[i].revents == 0) continue;
      connections.AcceptFrom(events[i].fd, listeners[i].may_manage,
                             options.group);
    }
  }
}

absl::Status Run(const DaemonOptions& options) {
  const UniqueFd signals = CatchSignals();
  LU_ASSIGN_OR_RETURN(const std::vector<Listener> listeners, TakeListeners());
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<OperationStore> store,
                      OperationStore::Open(options.operations_dir));
  const std::unique_ptr<WorkerClient> workers =
      NewWorkerClient(options.worker_socket);
  OperationRunner runner(*store, *workers);
  // May take minutes, in which clients can watch it; what is not settled counts
  // as running, so nothing else begins.
  std::thread settle([&runner] { runner.SettleInterrupted(); });
  const absl::Cleanup join = [&settle] { settle.join(); };

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  LU_ASSIGN_OR_RETURN(WakeUp stop, WakeUp::Create());
  {
    Connections connections({.store = *store,
                             .runner = runner,
                             .workers = *workers,
                             .authority = AskPolkit},
                            stop);
    sd_notify(0, "READY=1");
    LogInfo(absl::StrCat("hostupdated ", kVersion, " serves"));
    Serve(listeners, signals, options, *store, connections);
    sd_notify(0, "STOPPING=1");
    stop.Set();
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace live_update

int main(int argc, char** argv) {
  using live_update::DaemonOptions;
  const std::variant<DaemonOptions, int> parsed =
      live_update::ParseDaemonOptions(argc, argv);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const absl::Status status = live_update::Run(std::get<DaemonOptions>(parsed));
  if (status.ok()) return 0;
  live_update::LogError(status.message());
  return 1;
}
