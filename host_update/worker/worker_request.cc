#include "host_update/worker/worker_request.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "host_update/history.h"
#include "host_update/policy.h"
#include "host_update/preflight.h"

namespace live_update {
namespace {

constexpr size_t kLongestPath = 4096;
constexpr size_t kLongestVm = 256;  // libvirt's names are shorter.
constexpr int kMostOverrides = 32;
constexpr size_t kMostWays = 1024;
constexpr int kMostVms = 4096;
constexpr double kLongestBlackout = 86400;  // Seconds.

bool IsPrintable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return !absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
}

absl::Status CheckPath(const std::string& path, absl::string_view what) {
  if (path.size() > kLongestPath || !absl::StartsWith(path, "/") ||
      !IsPrintable(path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, " must be an absolute path of at most ", kLongestPath, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status SetVm(const std::string& vm, std::string& option) {
  if (vm.size() > kLongestVm || !IsPrintable(vm)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a VM is named by at most ", kLongestVm, " printable bytes"));
  }
  option = vm;
  return absl::OkStatus();
}

absl::Status SetTarget(const v1::Target& target, UpdateRequest& request) {
  LU_RETURN_IF_ERROR(CheckPath(target.kernel(), "the kernel"));
  if (!target.initrd().empty()) {
    LU_RETURN_IF_ERROR(CheckPath(target.initrd(), "the initrd"));
  }
  if (!target.append().empty()) {
    return absl::PermissionDeniedError(
        "words on the target's command line can make anybody root of it: only "
        "`host-update update --append`, given by root, takes them");
  }
  request.kernel_path = target.kernel();
  request.initrd_path = target.initrd();
  return absl::OkStatus();
}

template <typename Codes>
absl::Status SetOverrides(const Codes& codes, UpdateRequest& request) {
  if (codes.size() > kMostOverrides) {
    return absl::InvalidArgumentError(
        absl::StrCat(codes.size(), " overrides; at most ", kMostOverrides));
  }
  for (const std::string& code : codes) {
    LU_RETURN_IF_ERROR(CheckOverride(code));
    request.overrides.push_back(code);
  }
  return absl::OkStatus();
}

template <typename Ways>
absl::Status SetWays(const Ways& ways, UpdateRequest& request) {
  if (ways.size() > kMostWays) {
    return absl::InvalidArgumentError(
        absl::StrCat(ways.size(), " ways; at most ", kMostWays));
  }
  for (const auto& [vm, way] : ways) {
    std::string name;
    LU_RETURN_IF_ERROR(SetVm(vm, name));
    LU_RETURN_IF_ERROR(AddWay(absl::StrCat(name, "=", way), request.ways));
  }
  return absl::OkStatus();
}

absl::Status SetUpdate(const WorkerRequest::Update& update, Options& options) {
  if (!IsUpdateId(update.update_id())) {
    return absl::InvalidArgumentError("the update has no proper id");
  }
  const v1::ExecuteRequest& asked = update.request();
  LU_RETURN_IF_ERROR(SetTarget(asked.target(), options.request));
  LU_RETURN_IF_ERROR(SetOverrides(asked.overrides(), options.request));
  LU_RETURN_IF_ERROR(SetWays(asked.ways(), options.request));
  if (!std::isfinite(asked.max_blackout_s()) || asked.max_blackout_s() < 0 ||
      asked.max_blackout_s() > kLongestBlackout) {
    return absl::InvalidArgumentError(
        absl::StrCat("the blackout's limit must be 0 to ", kLongestBlackout,
                     " s, not ", asked.max_blackout_s()));
  }
  options.request.update_id = update.update_id();
  options.request.plan_hash = asked.plan_hash();
  options.request.max_blackout_s = asked.max_blackout_s();
  return absl::OkStatus();
}

absl::Status SetRestart(const WorkerRequest::RestartVmm& restart,
                        Options& options) {
  if (!IsUpdateId(restart.restart_id())) {
    return absl::InvalidArgumentError("the restart has no proper id");
  }
  options.request.update_id = restart.restart_id();
  options.rehearsal = restart.request().rehearsal();
  const auto& vms = restart.request().vms();
  if (vms.size() > kMostVms) {
    return absl::InvalidArgumentError(
        absl::StrCat(vms.size(), " VMs are named; at most ", kMostVms));
  }
  for (const std::string& vm : vms) {
    if (vm.empty()) return absl::InvalidArgumentError("a VM without a name");
    LU_RETURN_IF_ERROR(SetVm(vm, options.restart_vms.emplace_back()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Options> OptionsOf(const WorkerRequest& request,
                                  const Options& base) {
  Options options = base;
  switch (request.request_case()) {
    case WorkerRequest::kStatus:
      options.command = Command::kStatus;
      return options;
    case WorkerRequest::kCheck:
      options.command = Command::kCheck;
      if (request.check().has_target()) {
        LU_RETURN_IF_ERROR(
            SetTarget(request.check().target(), options.request));
      }
      LU_RETURN_IF_ERROR(
          SetOverrides(request.check().overrides(), options.request));
      LU_RETURN_IF_ERROR(SetWays(request.check().ways(), options.request));
      return options;
    case WorkerRequest::kPlan:
      options.command = Command::kUpdate;
      options.dry_run = true;
      LU_RETURN_IF_ERROR(SetTarget(request.plan().target(), options.request));
      LU_RETURN_IF_ERROR(
          SetOverrides(request.plan().overrides(), options.request));
      LU_RETURN_IF_ERROR(SetWays(request.plan().ways(), options.request));
      return options;
    case WorkerRequest::kUpdate:
      options.command = request.update().prepare_only() ? Command::kPrepare
                                                        : Command::kUpdate;
      LU_RETURN_IF_ERROR(SetUpdate(request.update(), options));
      return options;
    case WorkerRequest::kRecover:
      options.command = Command::kRestore;
      LU_RETURN_IF_ERROR(SetVm(request.recover().vm(), options.retry_vm));
      // A person asks for it, not the boot.
      options.restore_again = options.retry_vm.empty();
      return options;
    case WorkerRequest::kFinish:
      options.command = Command::kRestore;
      if (request.finish().vm().empty()) {
        return absl::InvalidArgumentError("which VM is to be given up?");
      }
      LU_RETURN_IF_ERROR(SetVm(request.finish().vm(), options.discard_vm));
      return options;
    case WorkerRequest::kUndo:
      options.command = Command::kAbort;
      return options;
    case WorkerRequest::kReport:
      options.command = Command::kReport;
      if (!request.report().update_id().empty() &&
          !IsUpdateId(request.report().update_id())) {
        return absl::InvalidArgumentError("that is no update id");
      }
      options.report_id = request.report().update_id();
      return options;
    case WorkerRequest::kEnable:
      options.command = Command::kEnable;
      options.undo = request.enable().undo();
      options.dry_run = request.enable().dry_run();
      if (request.enable().vm().empty()) {
        return absl::InvalidArgumentError("which VM is to be enabled?");
      }
      LU_RETURN_IF_ERROR(SetVm(request.enable().vm(), options.enable_vm));
      return options;
    case WorkerRequest::kRestartVmm:
      options.command = Command::kRestartVmm;
      LU_RETURN_IF_ERROR(SetRestart(request.restart_vmm(), options));
      return options;
    case WorkerRequest::REQUEST_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a request that this worker doesn't know");
}

absl::Status CheckOwnedByRoot(const std::string& path) {
  const std::unique_ptr<char, decltype(&free)> real(
      realpath(path.c_str(), nullptr), &free);
  if (real == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("look at ", path));
  }
  std::string at = real.get();
  for (bool is_file = true;; is_file = false) {
    struct stat file {};
    if (lstat(at.c_str(), &file) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("look at ", at));
    }
    const bool sticky = !is_file && (file.st_mode & S_ISVTX) != 0;
    if (file.st_uid != 0 || (file.st_mode & S_IWOTH) != 0 ||
        ((file.st_mode & S_IWGRP) != 0 && file.st_gid != 0) ||
        (is_file && !S_ISREG(file.st_mode)) || sticky) {
      return absl::PermissionDeniedError(absl::StrFormat(
          "%s is not root's alone to write (uid %d, gid %d, mode %04o): a "
          "kernel is booted through the service only from where root put it, "
          "/boot. A VM that boots from the host's own kernel is enough: "
          "libvirt gives the file to QEMU's user; let the VM have a copy",
          at, file.st_uid, file.st_gid, file.st_mode & 07777));
    }
    if (at == "/") return absl::OkStatus();
    at = at.substr(0, std::max<size_t>(at.rfind('/'), 1));
  }
}

}  // namespace live_update
