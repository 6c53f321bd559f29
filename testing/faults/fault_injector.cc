#include "testing/faults/fault_injector.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "state_preserve/format.h"

namespace live_update::testing {
namespace {

void KillByPidFile(const std::string& path) {
  pid_t pid = 0;
  if (!(std::ifstream(path) >> pid) || pid <= 1 || kill(pid, SIGKILL) != 0) {
    LogError(absl::StrCat("no process to kill by ", path));
    return;
  }
  // What follows must find it gone.
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (kill(pid, 0) == 0 && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(10));
  }
}

absl::Status ErrorOf(FaultAction action, const std::string& where) {
  switch (action) {
    case FaultAction::kEnospc:
      return absl::ErrnoToStatus(ENOSPC, absl::StrCat("injected at ", where));
    case FaultAction::kEnomem:
      return absl::ErrnoToStatus(ENOMEM, absl::StrCat("injected at ", where));
    case FaultAction::kEio:
      return absl::ErrnoToStatus(EIO, absl::StrCat("injected at ", where));
    default:
      return absl::InternalError(absl::StrCat("injected error at ", where));
  }
}

}  // namespace

FaultEffects RealEffects() {
  return {.kill_process = [] { kill(getpid(), SIGKILL); },
          .kill_qemu =
              [](const std::string& vm) {
                KillByPidFile(absl::StrCat("/run/libvirt/qemu/", vm, ".pid"));
              },
          .kill_libvirt = [] { KillByPidFile("/run/libvirtd.pid"); }};
}

absl::Status FaultInjector::Meet(FaultPoint point, absl::string_view vm,
                                 absl::Time deadline) {
  // Of a killed process no thread does anything any more.
  if (killed_) effects_.kill_process();
  if (point == FaultPoint::kNone || point != fault_.point || vm != fault_.vm) {
    return absl::OkStatus();
  }
  const bool again = met_.exchange(true);
  switch (fault_.action) {
    case FaultAction::kError:
    case FaultAction::kEnospc:
    case FaultAction::kEnomem:
    case FaultAction::kEio:
    case FaultAction::kStall:
    case FaultAction::kDelay:
      break;
    default:
      if (again) return absl::OkStatus();
  }
  LogWarning(absl::StrCat("fault at ", FaultText(fault_)));
  return Act(deadline);
}

absl::Status FaultInjector::Act(absl::Time deadline) {
  switch (fault_.action) {
    case FaultAction::kKill:
      killed_ = true;
      effects_.kill_process();
      return absl::OkStatus();
    case FaultAction::kStall: {
      const absl::Time end = deadline == absl::InfiniteFuture()
                                 ? absl::Now() + effects_.stall
                                 : deadline;
      while (absl::Now() < end) absl::SleepFor(absl::Milliseconds(20));
      return absl::DeadlineExceededError(
          absl::StrCat("injected stall at ", FaultText(fault_)));
    }
    case FaultAction::kDelay:
      absl::SleepFor(effects_.delay);
      return absl::OkStatus();
    case FaultAction::kKillQemu:
      effects_.kill_qemu(fault_.victim);
      return absl::OkStatus();
    case FaultAction::kKillLibvirt:
      effects_.kill_libvirt();
      outage_ends_ns_ = absl::ToUnixNanos(absl::Now() + effects_.outage);
      return absl::OkStatus();
    case FaultAction::kFlip:
    case FaultAction::kCut:
      DamageImage();
      return absl::OkStatus();
    default:
      return ErrorOf(fault_.action, FaultText(fault_));
  }
}

absl::Status FaultInjector::LibvirtAnswers() const {
  if (absl::ToUnixNanos(absl::Now()) >= outage_ends_ns_) {
    return absl::OkStatus();
  }
  return absl::UnavailableError("injected: libvirtd is gone");
}

void FaultInjector::DamageImage() {
  const std::lock_guard lock(mutex_);
  HandoverHeader header;
  if (image_.size() < sizeof(header)) return;
  std::memcpy(&header, image_.data(), sizeof(header));
  const absl::Span<uint8_t> image =
      image_.first(std::min<uint64_t>(header.total_size, image_.size()));
  const size_t half = image.size() / 2;
  if (fault_.action == FaultAction::kFlip) {
    image[half] ^= 0xff;
  } else {
    std::fill(image.begin() + static_cast<ptrdiff_t>(half), image.end(), 0);
  }
}

void FaultInjector::SetImage(absl::Span<uint8_t> image) {
  const std::lock_guard lock(mutex_);
  image_ = image;
}

void FaultInjector::Learn(const VmRef& vm) {
  const std::lock_guard lock(mutex_);
  names_[vm.uuid] = vm.name;
}

std::string FaultInjector::NameOfUuid(absl::string_view uuid) const {
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(std::string(uuid));
  return found == names_.end() ? std::string(uuid) : found->second;
}

}  // namespace live_update::testing
