// Connections to libvirt's daemon: as many as the calls at one time need,
// opened again when they broke, with an event loop that notices a dead daemon
// and writes each domain's life into the log. Private to this folder.
//
// libvirtd reads nothing more from a client of which it works on
// max_client_requests calls (5 by default): not even the answers to its
// keep-alive messages, and half a minute later it takes the client for dead. So
// no connection has that many calls at once.

#ifndef HOST_UPDATE_LIBVIRT_CONNECTION_H_
#define HOST_UPDATE_LIBVIRT_CONNECTION_H_

#include <libvirt/libvirt.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "host_update/deadline_call.h"
#include "host_update/hypervisor.h"
#include "host_update/qemu/qmp.h"

namespace live_update {

using ConnectHandle = std::shared_ptr<virConnect>;
using DomainHandle = std::shared_ptr<virDomain>;

// How often each domain's guest was let run again, by libvirt's events.
class ResumeCounter {
 public:
  void Add(const std::string& uuid);
  int Count(const std::string& uuid) const;

  // Waits until it is more than `count` for a while, as events may come after
  // the reply to the call that caused them. Returns whether it is.
  bool WaitUntilMore(const std::string& uuid, int count,
                     absl::Duration patience) const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, int> counts_ ABSL_GUARDED_BY(mutex_);
};

// Users of one connection at a time, each with one call at a time.
inline constexpr int kUsersPerConnection = 4;

// For several threads at once. Handles outlive it.
class Connection {
 public:
  explicit Connection(std::string uri) : uri_(std::move(uri)) {}

  // A connection for one user until he lets go of the handle and its copies:
  // an open one with fewer than kUsersPerConnection, or another that is opened.
  absl::StatusOr<ConnectHandle> Get(absl::Time deadline);

  // The same, for a domain. kNotFound: libvirt knows no such domain.
  absl::StatusOr<DomainHandle> Find(const VmRef& vm, absl::Time deadline);

  const ResumeCounter& resumes() const { return *resumes_; }

  // Runs `work`, a libvirt call on `vm`, by CallBefore.
  template <typename R>
  R OnDomain(const VmRef& vm, absl::string_view what, absl::Time deadline,
             std::function<R(virDomain*)> work,
             std::function<void(virDomain*, R)> if_late = {}) {
    LU_ASSIGN_OR_RETURN(DomainHandle domain, Find(vm, deadline));
    std::function<void(R)> late;
    if (if_late) {
      late = [domain, if_late = std::move(if_late)](R result) {
        if_late(domain.get(), std::move(result));
      };
    }
    return CallBefore<R>(
        deadline, absl::StrCat("libvirt to ", what),
        [domain, work = std::move(work)] { return work(domain.get()); },
        std::move(late));
  }

 private:
  struct Shared {
    ConnectHandle handle;
    std::shared_ptr<std::atomic<int>> users;
    bool listens = false;  // To libvirt's events: one of them does.
  };

  static ConnectHandle Use(const Shared& shared);

  const std::string uri_;
  const std::shared_ptr<ResumeCounter> resumes_ =
      std::make_shared<ResumeCounter>();
  absl::Mutex mutex_;
  bool opening_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Shared> open_ ABSL_GUARDED_BY(mutex_);
};

// QEMU's monitor, through libvirt.
class DomainMonitor : public QmpChannel {
 public:
  static absl::StatusOr<std::unique_ptr<DomainMonitor>> Open(
      Connection& connection, const VmRef& vm, absl::Time deadline);

  // kUnimplemented: not a QEMU domain.
  absl::StatusOr<std::string> Execute(const std::string& command,
                                      absl::Time deadline) override;

 private:
  explicit DomainMonitor(DomainHandle domain) : domain_(std::move(domain)) {}
  const DomainHandle domain_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_CONNECTION_H_
