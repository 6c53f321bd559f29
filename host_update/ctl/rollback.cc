#include "host_update/ctl/rollback.h"

#include "absl/strings/str_cat.h"

namespace live_update::ctl {
namespace {

Error NothingToGoBackTo(const std::string& message) {
  return {.exit_code = ExitCode::kNothingToDo,
          .code = "NO_UPDATE",
          .message = message,
          .remedy = "hostupdatectl update --kernel …",
          .vms_now = "as they were: nothing was done"};
}

Reply<UpdateReport> Report(Client& client, const std::string& id,
                           absl::Time deadline) {
  v1::GetReportRequest request;
  request.set_update_id(id);
  return client.Call(&Client::Stub::GetReport, request, deadline);
}

bool IsMissing(const Reply<UpdateReport>& report) {
  return !report.ok() && report.error->exit_code == ExitCode::kNothingToDo;
}

// The last report that says UPDATED. It need not be the last one of all, and
// updates that the daemon didn't do are no operations.
Reply<UpdateReport> LastUpdated(Client& client, absl::Time deadline) {
  Reply<UpdateReport> last = Report(client, "", deadline);
  if (!last.ok() && !IsMissing(last)) return last;
  if (last.ok() && last.value.result() == UpdateReport::UPDATED) return last;
  const Reply<v1::ListOperationsResponse> operations = client.Call(
      &Client::Stub::ListOperations, v1::ListOperationsRequest(), deadline);
  if (!operations.ok()) return {{}, operations.error};
  for (const v1::Operation& operation : operations.value.operations()) {
    if (operation.kind() != v1::Operation::UPDATE ||
        operation.state() != v1::Operation::SUCCEEDED) {
      continue;
    }
    Reply<UpdateReport> report = Report(client, operation.id(), deadline);
    if (!report.ok() && !IsMissing(report)) return report;
    if (report.ok() && report.value.result() == UpdateReport::UPDATED) {
      return report;
    }
  }
  return {{}, NothingToGoBackTo("no successful update is on record")};
}

}  // namespace

Reply<RollbackTarget> FindRollbackTarget(Client& client, absl::Time deadline) {
  const Reply<UpdateReport> report = LastUpdated(client, deadline);
  if (!report.ok()) return {{}, report.error};
  const std::string& release = report.value.kernel_before();
  if (release.empty() || release.find('/') != std::string::npos) {
    return {{},
            NothingToGoBackTo(
                absl::StrCat("the report of update ", report.value.update_id(),
                             " names no kernel that it came from"))};
  }
  const Reply<v1::HostInfo> info = client.Call(
      &Client::Stub::GetHostInfo, v1::GetHostInfoRequest(), deadline);
  if (!info.ok()) return {{}, info.error};
  if (info.value.status().kernel() == release) {
    return {{},
            NothingToGoBackTo(
                absl::StrCat("the host runs ", release, ", where update ",
                             report.value.update_id(), " came from"))};
  }
  return {{.kernel = absl::StrCat("/boot/vmlinuz-", release),
           .initrd = absl::StrCat("/boot/initrd.img-", release),
           .release = release,
           .update_id = report.value.update_id()},
          std::nullopt};
}

}  // namespace live_update::ctl
