#include "host_update/service/connections.h"

#include <errno.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "host_update/service/connection.h"

namespace live_update {
namespace {

constexpr size_t kMostConnections = 64;
constexpr int kMostOfOneUser = 16;  // Of root as well.

}  // namespace

Connections::~Connections() {
  std::list<Served> served;
  {
    absl::MutexLock lock(&mutex_);
    served.swap(served_);
  }
  for (Served& connection : served) connection.thread.join();
}

void Connections::AcceptFrom(int listener, bool may_manage,
                             const std::string& group) {
  UniqueFd socket(
      accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.ok()) {
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
      LogWarning(absl::ErrnoToStatus(errno, "take a connection").message());
    }
    return;
  }
  const absl::StatusOr<Caller> caller = CallerOf(socket.get());
  if (!caller.ok()) {
    LogWarning(caller.status().message());
    return;
  }
  absl::MutexLock lock(&mutex_);
  Reap();
  if (served_.size() >= kMostConnections ||
      per_user_[caller->uid] >= kMostOfOneUser) {
    LogWarning(absl::StrCat("a connection of ", caller->Description(),
                            " is refused: ", served_.size(), " are open, ",
                            per_user_[caller->uid], " of them this user's"));
    return;
  }
  ++per_user_[caller->uid];
  const bool manages = may_manage && IsRootOrMember(*caller, group);
  Served& served = served_.emplace_back();
  served.thread = std::thread(
      [this, fd = std::move(socket), caller = *caller, manages,
       &served]() mutable { Serve(std::move(fd), caller, manages, served); });
}

void Connections::Serve(UniqueFd socket, const Caller& caller, bool may_manage,
                        Served& served) {
  ServeConnection(std::move(socket), caller, may_manage, parts_, stop_);
  absl::MutexLock lock(&mutex_);
  --per_user_[caller.uid];
  served.done = true;
}

void Connections::Reap() {
  for (auto it = served_.begin(); it != served_.end();) {
    if (!it->done) {
      ++it;
      continue;
    }
    it->thread.join();
    it = served_.erase(it);
  }
}

}  // namespace live_update
