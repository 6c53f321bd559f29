#include "host_update/service/connections.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "host_update/service/connection.h"

namespace live_update {
namespace {

constexpr size_t kMostConnections = 64;
// Who has no rights can't keep those out who have.
constexpr size_t kMostOfOthers = 40;  // Than root and the group.
constexpr int kMostOfOneUser = 16;    // Of root as well.

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
  const bool trusted = IsRootOrMember(*caller, group);
  absl::MutexLock lock(&mutex_);
  Reap();
  const auto of_others =
      std::count_if(served_.begin(), served_.end(),
                    [](const Served& served) { return served.of_others; });
  if (served_.size() >= kMostConnections ||
      (!trusted && static_cast<size_t>(of_others) >= kMostOfOthers) ||
      per_user_[caller->uid] >= kMostOfOneUser) {
    LogWarning(absl::StrCat("a connection of ", caller->Description(),
                            " is refused: ", served_.size(), " are open, ",
                            per_user_[caller->uid], " of them this user's"));
    return;
  }
  ++per_user_[caller->uid];
  const Access access = !may_manage ? Access::kRead
                        : trusted   ? Access::kManage
                                    : Access::kAsk;
  Served& served = served_.emplace_back();
  served.of_others = !trusted;
  served.thread = std::thread(
      [this, fd = std::move(socket), caller = *caller, access,
       &served]() mutable { Serve(std::move(fd), caller, access, served); });
}

void Connections::Serve(UniqueFd socket, const Caller& caller, Access access,
                        Served& served) {
  ServeConnection(std::move(socket), caller, access, parts_, stop_);
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
