// All connections: takes them from the listening sockets and gives each a
// thread.

#ifndef HOST_UPDATE_SERVICE_CONNECTIONS_H_
#define HOST_UPDATE_SERVICE_CONNECTIONS_H_

#include <list>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "host_update/qemu/unix_socket.h"
#include "host_update/service/caller.h"
#include "host_update/service/host_update_service.h"

namespace live_update {

class Connections {
 public:
  // `stop` ends all connections; it must outlive this, as must `parts`' parts.
  Connections(const ServiceParts& parts, const WakeUp& stop)
      : parts_(parts), stop_(stop) {}
  // `stop` must have been set. Waits for all.
  ~Connections();

  // Takes one connection from `listener`, a non-blocking UNIX socket. If
  // `may_manage`, root and members of `group` have all calls, others those that
  // the authority grants. Too many at once, or too many of one user: closed
  // again.
  void AcceptFrom(int listener, bool may_manage, const std::string& group);

 private:
  struct Served {
    std::thread thread;
    bool done = false;
    bool of_others = false;  // Not of root or the group.
  };

  void Serve(UniqueFd socket, const Caller& caller, Access access,
             Served& served);
  void Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ServiceParts parts_;
  const WakeUp& stop_;
  absl::Mutex mutex_;
  std::list<Served> served_ ABSL_GUARDED_BY(mutex_);
  std::map<uid_t, int> per_user_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_CONNECTIONS_H_
