#include "host_update/service/host_update_service.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_code.h"
#include "host_update/cli/exit_code.h"
#include "host_update/service/metadata.h"
#include "host_update/service/service_error.h"
#include "host_update/version.h"

namespace live_update {
namespace {

// Of a question that a worker answers, if the client sets none that is shorter.
constexpr absl::Duration kLongestQuestion = absl::Minutes(2);
constexpr size_t kLongestReason = 1024;  // Bytes.
constexpr size_t kUsualOperations = 100;
// How often a stream looks whether its client is still there.
constexpr absl::Duration kWatchInterval = absl::Seconds(1);

constexpr char kLookAtJournal[] =
    "look at `journalctl -u hostupdated -u 'host-update-worker@*'`";

absl::Duration TimeLeft(const grpc::ServerContext& context) {
  const absl::Duration left =
      absl::FromChrono(context.deadline()) - absl::Now();
  return std::clamp(left, absl::ZeroDuration(), kLongestQuestion);
}

absl::Status StatusOf(const WorkerReply::Result& result) {
  const auto with = [&](absl::Status status, const char* code) {
    return WithCode(std::move(status),
                    result.code().empty() ? code : result.code());
  };
  switch (static_cast<ExitCode>(result.exit_code())) {
    case ExitCode::kOk:
    case ExitCode::kNoGo:  // An answer, too.
      return absl::OkStatus();
    case ExitCode::kNothingToDo:
      return with(absl::NotFoundError(result.error()), "NOT_FOUND");
    case ExitCode::kNoHypervisor:
      return with(absl::UnavailableError(result.error()), "LIBVIRT");
    case ExitCode::kNoPermission:
      return with(absl::PermissionDeniedError(result.error()), "PERMISSION");
    case ExitCode::kBusy:
      return with(absl::UnavailableError(result.error()), "BUSY");
    case ExitCode::kUsage:
      return with(absl::InvalidArgumentError(result.error()), "REQUEST");
    default:
      return with(absl::InternalError(result.error()), "FAILED");
  }
}

std::string OneLine(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\n", " "}, {"\r", " "}});
}

template <typename Request>
v1::Operation OperationOf(v1::Operation::Kind kind, const Request& request) {
  v1::Operation operation;
  operation.set_kind(kind);
  operation.set_request_id(request.request_id());
  operation.set_reason(request.reason());
  return operation;
}

absl::Status CheckReason(const std::string& reason) {
  if (reason.size() <= kLongestReason) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a reason of ", reason.size(), " bytes; at most ", kLongestReason));
}

}  // namespace

grpc::Status HostUpdateService::MayManage(const Context& context,
                                          const char* call) const {
  if (access_ == Access::kManage) return grpc::Status::OK;
  absl::Status refused =
      absl::PermissionDeniedError("this socket is for looking");
  if (access_ == Access::kAsk) {
    refused = parts_.authority(
        caller_, {.call = call,
                  .may_prompt = context.client_metadata().count(kMayPrompt) > 0,
                  .patience = TimeLeft(context),
                  .is_cancelled = [&] { return context.IsCancelled(); }});
    if (refused.ok()) {
      LogInfo(absl::StrCat("audit: ", call, " granted to ",
                           caller_.Description(), " by polkit"));
      return grpc::Status::OK;
    }
  }
  LogWarning(absl::StrCat("audit: ", call, " refused to ",
                          caller_.Description(), ": ",
                          OneLine(std::string(refused.message()))));
  return ToGrpc(WithCode(absl::PermissionDeniedError(absl::StrCat(
                             call,
                             " is for root, members of host-update-admin, and "
                             "whom polkit lets: ",
                             refused.message())),
                         "PERMISSION"),
                "call as one of them, through /run/host-update/api.sock",
                kNothingTouched);
}

void HostUpdateService::Audit(const char* call, const std::string& what,
                              const std::string& reason) const {
  LogInfo(absl::StrCat("audit: ", call, " by ", caller_.Description(), ": ",
                       OneLine(what),
                       reason.empty() ? "" : "; reason: ", OneLine(reason)));
}

grpc::Status HostUpdateService::Ask(const Context& context,
                                    const WorkerRequest& request,
                                    WorkerReply::Result& result) const {
  absl::StatusOr<WorkerReply::Result> answer =
      CallWorker(parts_.workers, request, TimeLeft(context));
  if (!answer.ok()) {
    return ToGrpc(answer.status(), kLookAtJournal, kNothingTouched);
  }
  result = *std::move(answer);
  return ToGrpc(StatusOf(result), kLookAtJournal, kNothingTouched);
}

template <typename Answer>
grpc::Status HostUpdateService::AskFor(Answer* (WorkerReply::Result::*take)(),
                                       const Context& context,
                                       const WorkerRequest& request,
                                       Answer* answer) const {
  WorkerReply::Result result;
  grpc::Status asked = Ask(context, request, result);
  if (asked.ok()) *answer = std::move(*(result.*take)());
  return asked;
}

grpc::Status HostUpdateService::GetHostInfo(Context* context,
                                            const v1::GetHostInfoRequest*,
                                            v1::HostInfo* info) {
  WorkerRequest request;
  request.mutable_status();
  if (grpc::Status asked = AskFor(&WorkerReply::Result::mutable_status,
                                  *context, request, info->mutable_status());
      !asked.ok()) {
    return asked;
  }
  info->set_version(kVersion);
  for (const v1::Operation& operation : parts_.store.Running()) {
    info->set_running_operation(operation.id());
  }
  info->set_last_sequence(parts_.store.last_sequence());
  return grpc::Status::OK;
}

grpc::Status HostUpdateService::ListVms(Context* context,
                                        const v1::ListVmsRequest*,
                                        v1::ListVmsResponse* response) {
  WorkerRequest status;
  status.mutable_status();
  HostStatus host;
  if (grpc::Status asked =
          AskFor(&WorkerReply::Result::mutable_status, *context, status, &host);
      !asked.ok()) {
    return asked;
  }
  WorkerRequest check;
  check.mutable_check();
  CheckReport checked;
  if (grpc::Status asked = AskFor(&WorkerReply::Result::mutable_check, *context,
                                  check, &checked);
      !asked.ok()) {
    return asked;
  }
  for (const HostStatus::Vm& vm : host.vms()) {
    v1::ListVmsResponse::Vm& entry = *response->add_vms();
    entry.set_name(vm.name());
    entry.set_uuid(vm.uuid());
    entry.set_state(vm.state());
    for (const Finding& finding : checked.findings()) {
      if (finding.severity() == Finding::ERROR &&
          finding.subject() == vm.name()) {
        *entry.add_blockers() = finding;
      }
    }
    entry.set_way("none");
    for (const UpdatePlan::Vm& way : checked.vms()) {
      if (way.uuid() == vm.uuid()) entry.set_way(way.way());
    }
  }
  return grpc::Status::OK;
}

grpc::Status HostUpdateService::ListOperations(
    Context*, const v1::ListOperationsRequest* request,
    v1::ListOperationsResponse* response) {
  const size_t limit =
      request->limit() == 0 ? kUsualOperations : request->limit();
  for (v1::Operation& operation : parts_.store.List(limit)) {
    *response->add_operations() = std::move(operation);
  }
  return grpc::Status::OK;
}

grpc::Status HostUpdateService::GetOperation(
    Context*, const v1::GetOperationRequest* request,
    v1::Operation* operation) {
  std::optional<v1::Operation> found = parts_.store.Get(request->id());
  if (!found.has_value()) {
    return ToGrpc(
        absl::NotFoundError(absl::StrCat("no operation ", request->id())),
        "`hostupdatectl history` lists them", kNothingTouched);
  }
  *operation = *std::move(found);
  return grpc::Status::OK;
}

grpc::Status HostUpdateService::GetReport(Context* context,
                                          const v1::GetReportRequest* request,
                                          UpdateReport* report) {
  WorkerRequest ask;
  ask.mutable_report()->set_update_id(request->update_id());
  return AskFor(&WorkerReply::Result::mutable_report, *context, ask, report);
}

grpc::Status HostUpdateService::Watch(Context* context,
                                      const v1::WatchRequest* request,
                                      grpc::ServerWriter<v1::Event>* writer) {
  const std::string& id = request->operation_id();
  uint64_t seen = request->after_sequence();
  while (!context->IsCancelled()) {
    std::optional<v1::Operation> operation;
    if (!id.empty()) {
      // Before the events, so that none after its end is missed.
      operation = parts_.store.Get(id);
      if (!operation.has_value()) {
        return ToGrpc(absl::NotFoundError(absl::StrCat("no operation ", id)),
                      "`hostupdatectl history` lists them", kNothingTouched);
      }
    }
    const bool ended =
        operation.has_value() && operation->state() != v1::Operation::RUNNING;
    const absl::Time until =
        ended ? absl::InfinitePast() : absl::Now() + kWatchInterval;
    for (const v1::Event& event : parts_.store.EventsAfter(seen, id, until)) {
      if (!writer->Write(event)) return grpc::Status::CANCELLED;
      seen = event.sequence();
    }
    if (ended) return grpc::Status::OK;
  }
  return grpc::Status::CANCELLED;
}

grpc::Status HostUpdateService::Check(Context* context,
                                      const v1::CheckRequest* request,
                                      CheckReport* report) {
  if (grpc::Status may = MayManage(*context, "Check"); !may.ok()) return may;
  WorkerRequest ask;
  *ask.mutable_check() = *request;
  return AskFor(&WorkerReply::Result::mutable_check, *context, ask, report);
}

grpc::Status HostUpdateService::Plan(Context* context,
                                     const v1::PlanRequest* request,
                                     UpdatePlan* plan) {
  if (grpc::Status may = MayManage(*context, "Plan"); !may.ok()) return may;
  WorkerRequest ask;
  *ask.mutable_plan() = *request;
  return AskFor(&WorkerReply::Result::mutable_plan, *context, ask, plan);
}

grpc::Status HostUpdateService::Start(v1::Operation operation,
                                      WorkerRequest request,
                                      v1::Operation* started) {
  if (absl::Status reason = CheckReason(operation.reason()); !reason.ok()) {
    return ToGrpc(reason, "give a shorter one", kNothingTouched);
  }
  operation.set_requested_by(caller_.Description());
  absl::StatusOr<v1::Operation> begun =
      parts_.runner.Start(std::move(operation), std::move(request));
  if (!begun.ok()) {
    return ToGrpc(begun.status(),
                  CodeOf(begun.status()) == "BUSY"
                      ? "`hostupdatectl watch` shows how it goes on"
                      : kLookAtJournal,
                  kNothingTouched);
  }
  *started = *std::move(begun);
  return grpc::Status::OK;
}

grpc::Status HostUpdateService::BeginUpdate(const Context& context,
                                            v1::Operation::Kind kind,
                                            const v1::ExecuteRequest& request,
                                            v1::Operation* operation) {
  const bool prepare = kind == v1::Operation::PREPARE;
  const char* call = prepare ? "Prepare" : "Execute";
  if (grpc::Status may = MayManage(context, call); !may.ok()) return may;
  Audit(call, request.target().kernel(), request.reason());
  v1::Operation asked = OperationOf(kind, request);
  *asked.mutable_target() = request.target();
  WorkerRequest worker;
  *worker.mutable_update()->mutable_request() = request;
  worker.mutable_update()->set_prepare_only(prepare);
  return Start(std::move(asked), std::move(worker), operation);
}

grpc::Status HostUpdateService::Prepare(Context* context,
                                        const v1::ExecuteRequest* request,
                                        v1::Operation* operation) {
  return BeginUpdate(*context, v1::Operation::PREPARE, *request, operation);
}

grpc::Status HostUpdateService::Execute(Context* context,
                                        const v1::ExecuteRequest* request,
                                        v1::Operation* operation) {
  return BeginUpdate(*context, v1::Operation::UPDATE, *request, operation);
}

grpc::Status HostUpdateService::Abort(Context* context,
                                      const v1::AbortRequest* request,
                                      v1::Operation* operation) {
  if (grpc::Status may = MayManage(*context, "Abort"); !may.ok()) return may;
  std::string id = request->operation_id();
  Audit("Abort", id, request->reason());
  if (id.empty()) {
    const std::vector<v1::Operation> running = parts_.store.Running();
    if (running.empty()) {
      return ToGrpc(absl::FailedPreconditionError("no operation runs"),
                    "`hostupdatectl history` lists what was", kNothingTouched);
    }
    id = running.front().id();
  }
  if (absl::Status aborted = parts_.runner.Abort(id); !aborted.ok()) {
    return ToGrpc(aborted, "`hostupdatectl watch` shows how it goes on",
                  "as the operation's phase has it");
  }
  if (auto found = parts_.store.Get(id); found.has_value()) {
    *operation = *std::move(found);
  }
  return grpc::Status::OK;
}

grpc::Status HostUpdateService::Recover(Context* context,
                                        const v1::RecoverRequest* request,
                                        v1::Operation* operation) {
  if (grpc::Status may = MayManage(*context, "Recover"); !may.ok()) return may;
  Audit("Recover", request->vm(), request->reason());
  v1::Operation asked = OperationOf(v1::Operation::RECOVER, *request);
  asked.set_vm(request->vm());
  WorkerRequest worker;
  *worker.mutable_recover() = *request;
  return Start(std::move(asked), std::move(worker), operation);
}

grpc::Status HostUpdateService::Finish(Context* context,
                                       const v1::FinishRequest* request,
                                       v1::Operation* operation) {
  if (grpc::Status may = MayManage(*context, "Finish"); !may.ok()) return may;
  Audit("Finish", request->vm(), request->reason());
  v1::Operation asked = OperationOf(v1::Operation::FINISH, *request);
  asked.set_vm(request->vm());
  WorkerRequest worker;
  *worker.mutable_finish() = *request;
  return Start(std::move(asked), std::move(worker), operation);
}

grpc::Status HostUpdateService::RestartVmm(Context* context,
                                           const v1::RestartVmmRequest* request,
                                           v1::Operation* operation) {
  if (grpc::Status may = MayManage(*context, "RestartVmm"); !may.ok()) {
    return may;
  }
  const std::string vms = absl::StrJoin(request->vms(), " ");
  Audit(request->rehearsal() ? "RestartVmm (rehearsal)" : "RestartVmm",
        vms.empty() ? "all VMs" : vms, request->reason());
  v1::Operation asked = OperationOf(v1::Operation::RESTART_VMM, *request);
  asked.set_vm(vms);
  WorkerRequest worker;
  *worker.mutable_restart_vmm()->mutable_request() = *request;
  return Start(std::move(asked), std::move(worker), operation);
}

grpc::Status HostUpdateService::EnableVm(Context* context,
                                         const v1::EnableVmRequest* request,
                                         EnableReport* report) {
  if (grpc::Status may = MayManage(*context, "EnableVm"); !may.ok()) return may;
  if (absl::Status reason = CheckReason(request->reason()); !reason.ok()) {
    return ToGrpc(reason, "give a shorter one", kNothingTouched);
  }
  if (!request->dry_run()) {
    Audit(request->undo() ? "EnableVm (undo)" : "EnableVm", request->vm(),
          request->reason());
  }
  WorkerRequest ask;
  *ask.mutable_enable() = *request;
  return AskFor(&WorkerReply::Result::mutable_enable, *context, ask, report);
}

}  // namespace live_update
