#include "host_update/libvirt/connection.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include <cstdlib>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/cleanup/cleanup.h"
#include "base/log.h"
#include "host_update/libvirt/libvirt_error.h"

namespace live_update {
namespace {

// A daemon that does not answer for a minute is dead: calls to it fail then.
constexpr int kKeepAliveSeconds = 5;
constexpr unsigned kKeepAliveCount = 12;

const char* LifecycleName(int event) {
  switch (event) {
    case VIR_DOMAIN_EVENT_DEFINED:
      return "defined";
    case VIR_DOMAIN_EVENT_UNDEFINED:
      return "undefined";
    case VIR_DOMAIN_EVENT_STARTED:
      return "started";
    case VIR_DOMAIN_EVENT_SUSPENDED:
      return "suspended";
    case VIR_DOMAIN_EVENT_RESUMED:
      return "resumed";
    case VIR_DOMAIN_EVENT_STOPPED:
      return "stopped";
    case VIR_DOMAIN_EVENT_SHUTDOWN:
      return "shut down";
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
      return "suspended by its guest";
    case VIR_DOMAIN_EVENT_CRASHED:
      return "crashed";
    default:
      return "changed";
  }
}

using Resumes = std::shared_ptr<ResumeCounter>;

int OnLifecycle(virConnect* /*connection*/, virDomain* domain, int event,
                int detail, void* resumes) {
  char uuid[VIR_UUID_STRING_BUFLEN] = {};
  if (event == VIR_DOMAIN_EVENT_RESUMED &&
      virDomainGetUUIDString(domain, uuid) == 0) {
    (*static_cast<Resumes*>(resumes))->Add(uuid);
  }
  LogInfo(absl::StrCat("libvirt: ", virDomainGetName(domain), " ",
                       LifecycleName(event), " (", detail, ")"));
  return 0;
}

// libvirt's event loop is one per process and must be there before the first
// connection. Its thread ends with the process.
void StartEventLoop() {
  static const bool started = [] {
    virSetErrorFunc(nullptr, [](void*, virError*) {});  // Nothing on stderr.
    if (virEventRegisterDefaultImpl() != 0) return false;
    std::thread([] {
      while (virEventRunDefaultImpl() == 0) {
      }
      LogWarning("libvirt's event loop ended");
    }).detach();
    return true;
  }();
  if (!started) LogWarning("libvirt's event loop could not be started");
}

// With `resumes` it listens to events, too.
absl::StatusOr<ConnectHandle> Open(const std::string& uri, Resumes resumes) {
  virConnect* const raw = virConnectOpen(uri.c_str());
  if (raw == nullptr) {
    return LastLibvirtError(absl::StrCat("connect to libvirt at ", uri));
  }
  // For notice only; drivers without a daemon have it not.
  (void)virConnectSetKeepAlive(raw, kKeepAliveSeconds, kKeepAliveCount);
  if (resumes == nullptr) return ConnectHandle(raw, virConnectClose);
  const int callback = virConnectDomainEventRegisterAny(
      raw, nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
      VIR_DOMAIN_EVENT_CALLBACK(OnLifecycle), new Resumes(std::move(resumes)),
      [](void* opaque) { delete static_cast<Resumes*>(opaque); });
  // A callback holds its connection open.
  ConnectHandle handle(raw, [callback](virConnect* connection) {
    if (callback >= 0) virConnectDomainEventDeregisterAny(connection, callback);
    virConnectClose(connection);
  });
  if (callback < 0) {
    return LastLibvirtError("listen to libvirt's events");
  }
  return handle;
}

}  // namespace

void ResumeCounter::Add(const std::string& uuid) {
  const absl::MutexLock lock(&mutex_);
  ++counts_[uuid];
}

int ResumeCounter::Count(const std::string& uuid) const {
  const absl::MutexLock lock(&mutex_);
  const auto count = counts_.find(uuid);
  return count == counts_.end() ? 0 : count->second;
}

bool ResumeCounter::WaitUntilMore(const std::string& uuid, int count,
                                  absl::Duration patience) const {
  const absl::MutexLock lock(&mutex_);
  const auto more = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto now = counts_.find(uuid);
    return now != counts_.end() && now->second > count;
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&more), patience);
}

ConnectHandle Connection::Use(const Shared& shared) {
  ++*shared.users;
  return ConnectHandle(shared.handle.get(),
                       [handle = shared.handle,
                        users = shared.users](virConnect*) { --*users; });
}

absl::StatusOr<ConnectHandle> Connection::Get(absl::Time deadline) {
  StartEventLoop();
  const absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !opening_;
  };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline)) {
    return absl::DeadlineExceededError("waited for libvirt to answer");
  }
  std::erase_if(open_, [](const Shared& shared) {
    return virConnectIsAlive(shared.handle.get()) != 1;
  });
  const bool listens = absl::c_none_of(
      open_, [](const Shared& shared) { return shared.listens; });
  const auto with_room = absl::c_find_if(open_, [](const Shared& shared) {
    return *shared.users < kUsersPerConnection;
  });
  if (!listens && with_room != open_.end()) return Use(*with_room);
  opening_ = true;
  mutex_.Unlock();
  absl::StatusOr<ConnectHandle> opened =
      CallBefore<absl::StatusOr<ConnectHandle>>(
          deadline, absl::StrCat("libvirt to answer at ", uri_),
          [uri = uri_, resumes = listens ? resumes_ : nullptr] {
            return Open(uri, resumes);
          });
  mutex_.Lock();
  opening_ = false;
  LU_RETURN_IF_ERROR(opened.status());
  open_.push_back({.handle = *std::move(opened),
                   .users = std::make_shared<std::atomic<int>>(0),
                   .listens = listens});
  return Use(open_.back());
}

absl::StatusOr<DomainHandle> Connection::Find(const VmRef& vm,
                                              absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(ConnectHandle connection, Get(deadline));
  return CallBefore<absl::StatusOr<DomainHandle>>(
      deadline, absl::StrCat("libvirt to find ", vm.name),
      [connection, uuid = vm.uuid,
       name = vm.name]() -> absl::StatusOr<DomainHandle> {
        virDomain* const domain =
            virDomainLookupByUUIDString(connection.get(), uuid.c_str());
        if (domain == nullptr) return LastLibvirtError(name);
        // The domain needs its connection to be freed on.
        return DomainHandle(domain,
                            [connection](virDomain* d) { virDomainFree(d); });
      });
}

absl::StatusOr<std::unique_ptr<DomainMonitor>> DomainMonitor::Open(
    Connection& connection, const VmRef& vm, absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(DomainHandle domain, connection.Find(vm, deadline));
  return std::unique_ptr<DomainMonitor>(new DomainMonitor(std::move(domain)));
}

absl::StatusOr<std::string> DomainMonitor::Execute(const std::string& command,
                                                   absl::Time deadline) {
  return CallBefore<absl::StatusOr<std::string>>(
      deadline, "QEMU's monitor to answer",
      [domain = domain_, command]() -> absl::StatusOr<std::string> {
        char* reply = nullptr;
        if (virDomainQemuMonitorCommand(domain.get(), command.c_str(), &reply,
                                        0) != 0) {
          return LastLibvirtError("QEMU's monitor");
        }
        const absl::Cleanup free_reply = [reply] { free(reply); };
        return std::string(reply == nullptr ? "" : reply);
      });
}

}  // namespace live_update
