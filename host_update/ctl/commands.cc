#include "host_update/ctl/commands.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "google/protobuf/struct.pb.h"
#include "host_update/ctl/client.h"
#include "host_update/ctl/follow.h"
#include "host_update/ctl/rollback.h"
#include "host_update/ctl/text.h"
#include "host_update/report/report_json.h"
#include "host_update/report/report_text.h"

namespace live_update::ctl {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(60);
constexpr absl::Duration kFollowTimeout = absl::Seconds(1800);

// One run of the program.
struct Session {
  const Options& options;
  const Console& console;
  Client& client;

  absl::Time CallDeadline() const {
    return absl::Now() + options.timeout.value_or(kCallTimeout);
  }

  template <typename Request, typename Response>
  Reply<Response> Call(grpc::Status (Client::Stub::*method)(
                           grpc::ClientContext*, const Request&, Response*),
                       const Request& request) {
    return client.Call(method, request, CallDeadline());
  }

  // What was asked for, as JSON or text.
  template <typename Message>
  void Print(const Message& message, std::string (*text)(const Message&)) {
    if (options.json) {
      console.out(ToJson(message).value_or(""));
    } else if (!options.quiet) {
      console.out(text(message));
    }
  }

  int Fail(const Error& error) { return ctl::Fail(options, console, error); }

  int UsageError(const std::string& message) {
    console.err(absl::StrCat("hostupdatectl: ", message, "\n"));
    return static_cast<int>(ExitCode::kUsage);
  }
};

int End(ExitCode code) { return static_cast<int>(code); }

// A call whose answer is printed, and that's all.
template <typename Request, typename Response>
int CallAndPrint(Session& session,
                 grpc::Status (Client::Stub::*method)(grpc::ClientContext*,
                                                      const Request&,
                                                      Response*),
                 const Request& request, std::string (*text)(const Response&)) {
  const Reply<Response> reply = session.Call(method, request);
  if (!reply.ok()) return session.Fail(*reply.error);
  session.Print(reply.value, text);
  return End(ExitCode::kOk);
}

// CheckRequest, PlanRequest, ExecuteRequest: what they have in common.
template <typename Request>
Request TargetRequest(const Options& options) {
  Request request;
  if (!options.kernel.empty()) {
    request.mutable_target()->set_kernel(options.kernel);
    request.mutable_target()->set_initrd(options.initrd);
    request.mutable_target()->set_append(options.append);
  }
  for (const std::string& code : options.overrides) {
    request.add_overrides(code);
  }
  request.mutable_ways()->insert(options.ways.begin(), options.ways.end());
  return request;
}

int Plan(Session& session) {
  const Reply<UpdatePlan> plan = session.Call(
      &Client::Stub::Plan, TargetRequest<v1::PlanRequest>(session.options));
  if (!plan.ok()) return session.Fail(*plan.error);
  session.Print(plan.value, &CheckAndPlanText);
  return End(plan.value.check().go() ? ExitCode::kOk : ExitCode::kNoGo);
}

// Whether what can't be taken back may begin: --yes, or `expected` typed in.
// nullopt: yes. Else the exit status.
std::optional<int> AskFor(Session& session, const std::string& question,
                          const std::string& expected) {
  if (session.options.yes) return std::nullopt;
  session.console.err(absl::StrCat(question, " ", expected, "\n> "));
  const std::optional<std::string> answer = session.console.read_line();
  if (answer && !expected.empty() &&
      absl::StripAsciiWhitespace(*answer) == expected) {
    return std::nullopt;
  }
  session.console.err("hostupdatectl: not confirmed: nothing was done.\n");
  return End(ExitCode::kAborted);
}

bool CanAsk(const Session& session) {
  return session.options.yes || session.console.in_terminal;
}

constexpr char kCantAsk[] =
    "standard input is no terminal, so nobody can be asked: give --yes";

// What was begun is followed, or only named.
int Begun(Session& session, const v1::Operation& operation) {
  const Options& options = session.options;
  if (options.no_wait) {
    session.console.out(options.json ? ToJson(operation).value_or("")
                                     : absl::StrCat(operation.id(), "\n"));
    return End(ExitCode::kOk);
  }
  if (!options.quiet) {
    session.console.err(absl::StrCat("Operation ", operation.id(),
                                     ". Ctrl-C leaves it running; follow it "
                                     "again with: hostupdatectl watch ",
                                     operation.id(), "\n"));
  }
  return Follow(session.client, options, session.console, operation.id(),
                absl::Now() + options.timeout.value_or(kFollowTimeout));
}

// The plan on the terminal, and the question. nullopt: go on, as `plan_hash`
// has it.
std::optional<int> ConfirmUpdate(Session& session, std::string& plan_hash) {
  if (session.options.yes) return std::nullopt;
  const Reply<UpdatePlan> plan = session.Call(
      &Client::Stub::Plan, TargetRequest<v1::PlanRequest>(session.options));
  if (!plan.ok()) return session.Fail(*plan.error);
  session.console.err(CheckAndPlanText(plan.value));
  // 3 is what `check` says; of an update, it matters that VMs are unharmed.
  if (!plan.value.check().go()) return End(ExitCode::kFailedUnharmed);
  if (plan_hash.empty()) plan_hash = plan.value.plan_hash();
  return AskFor(session,
                absl::StrCat("This pauses ", plan.value.vms_size(),
                             " VMs while the host's kernel is replaced. Type "
                             "the host name to go on:"),
                session.console.host_name);
}

v1::ExecuteRequest UpdateRequestOf(const Options& options) {
  auto request = TargetRequest<v1::ExecuteRequest>(options);
  request.set_plan_hash(options.plan_hash);
  request.set_request_id(options.request_id);
  request.set_reason(options.reason);
  request.set_max_blackout_s(options.max_blackout_s);
  return request;
}

int Prepare(Session& session) {
  const Reply<v1::Operation> begun =
      session.Call(&Client::Stub::Prepare, UpdateRequestOf(session.options));
  return begun.ok() ? Begun(session, begun.value) : session.Fail(*begun.error);
}

int Update(Session& session) {
  if (!CanAsk(session)) return session.UsageError(kCantAsk);
  v1::ExecuteRequest request = UpdateRequestOf(session.options);
  if (const auto ended = ConfirmUpdate(session, *request.mutable_plan_hash())) {
    return *ended;
  }
  const Reply<v1::Operation> begun =
      session.Call(&Client::Stub::Execute, request);
  return begun.ok() ? Begun(session, begun.value) : session.Fail(*begun.error);
}

int Rollback(Session& session) {
  if (!CanAsk(session)) return session.UsageError(kCantAsk);
  const Reply<RollbackTarget> target =
      FindRollbackTarget(session.client, session.CallDeadline());
  if (!target.ok()) return session.Fail(*target.error);
  if (!session.options.quiet) {
    session.console.err(absl::StrCat(
        "Rollback: a live update back into ", target.value.release,
        ", where update ", target.value.update_id, " came from\n  kernel  ",
        target.value.kernel, "\n  initrd  ", target.value.initrd, "\n"));
  }
  Options options = session.options;
  options.kernel = target.value.kernel;
  options.initrd = target.value.initrd;
  Session update{options, session.console, session.client};
  return Update(update);
}

int Abort(Session& session) {
  const Reply<v1::HostInfo> info =
      session.Call(&Client::Stub::GetHostInfo, v1::GetHostInfoRequest());
  if (!info.ok()) return session.Fail(*info.error);
  if (info.value.running_operation().empty()) {
    return session.Fail({.exit_code = ExitCode::kNothingToDo,
                         .code = "NONE_RUNS",
                         .message = "no operation runs: nothing to take back",
                         .remedy = "hostupdatectl history",
                         .vms_now = "as they were: nothing was done"});
  }
  v1::AbortRequest request;
  request.set_operation_id(info.value.running_operation());
  request.set_reason(session.options.reason);
  const Reply<v1::Operation> aborted =
      session.Call(&Client::Stub::Abort, request);
  if (!aborted.ok()) return session.Fail(*aborted.error);
  const int exit_code = Begun(session, aborted.value);
  // Aborted is what it should be.
  return exit_code == End(ExitCode::kAborted) ? End(ExitCode::kOk) : exit_code;
}

int Watch(Session& session) {
  std::string id = session.options.id;
  if (id.empty()) {
    const Reply<v1::HostInfo> info =
        session.Call(&Client::Stub::GetHostInfo, v1::GetHostInfoRequest());
    if (!info.ok()) return session.Fail(*info.error);
    id = info.value.running_operation();
    if (id.empty()) {
      return session.Fail({.exit_code = ExitCode::kNothingToDo,
                           .code = "NONE_RUNS",
                           .message = "no operation runs",
                           .remedy = "hostupdatectl report",
                           .vms_now = "nothing is being done to them"});
    }
  }
  v1::GetOperationRequest request;
  request.set_id(id);
  const Reply<v1::Operation> operation =
      session.Call(&Client::Stub::GetOperation, request);
  if (!operation.ok()) return session.Fail(*operation.error);
  return Follow(session.client, session.options, session.console, id,
                absl::Now() + session.options.timeout.value_or(kFollowTimeout));
}

// `what` is what comes to pass, and to which VMs.
int BeginRestart(Session& session, const std::vector<std::string>& vms,
                 bool rehearsal, const std::string& what) {
  if (!CanAsk(session)) return session.UsageError(kCantAsk);
  if (const auto ended =
          AskFor(session, absl::StrCat(what, " Type the host name to go on:"),
                 session.console.host_name)) {
    return *ended;
  }
  v1::RestartVmmRequest request;
  for (const std::string& vm : vms) request.add_vms(vm);
  request.set_rehearsal(rehearsal);
  request.set_request_id(session.options.request_id);
  request.set_reason(session.options.reason);
  const Reply<v1::Operation> begun =
      session.Call(&Client::Stub::RestartVmm, request);
  return begun.ok() ? Begun(session, begun.value) : session.Fail(*begun.error);
}

int RestartVmm(Session& session) {
  const std::vector<std::string>& vms = session.options.vms;
  return BeginRestart(
      session, vms, /*rehearsal=*/false,
      absl::StrCat(vms.empty() ? "All VMs" : absl::StrJoin(vms, ", "),
                   " will stand still, one after the other, each until a new "
                   "QEMU has taken it over."));
}

int Check(Session& session) {
  const std::string& vm = session.options.rehearse_vm;
  const Reply<CheckReport> check = session.Call(
      &Client::Stub::Check, TargetRequest<v1::CheckRequest>(session.options));
  if (!check.ok()) return session.Fail(*check.error);
  if (vm.empty()) {
    session.Print(check.value, &CheckText);
    return End(check.value.go() ? ExitCode::kOk : ExitCode::kNoGo);
  }
  // Only what concerns it: the rest of the host stays as it is.
  CheckReport of_vm;
  of_vm.set_go(true);
  for (const Finding& finding : check.value.findings()) {
    if (finding.subject() != vm) continue;
    *of_vm.add_findings() = finding;
    if (finding.severity() == Finding::ERROR) of_vm.set_go(false);
  }
  if (!of_vm.go()) {
    session.Print(of_vm, &CheckText);
    return End(ExitCode::kNoGo);
  }
  // The JSON is the rehearsal's, which has these findings as well.
  if (!session.options.json) session.Print(of_vm, &CheckText);
  return BeginRestart(
      session, {vm}, /*rehearsal=*/true,
      absl::StrCat("The rehearsal lets ", vm,
                   " stand still until a new QEMU has taken it over, as in an "
                   "update but with no kexec between."));
}

int Recover(Session& session) {
  v1::RecoverRequest request;
  request.set_vm(session.options.vm);
  request.set_request_id(session.options.request_id);
  request.set_reason(session.options.reason);
  const Reply<v1::Operation> begun =
      session.Call(&Client::Stub::Recover, request);
  return begun.ok() ? Begun(session, begun.value) : session.Fail(*begun.error);
}

int Finish(Session& session) {
  if (!CanAsk(session)) return session.UsageError(kCantAsk);
  const std::string& vm = session.options.vm;
  if (const auto ended = AskFor(
          session,
          "This gives the kept memory and state of a VM up, for good. Type "
          "its name to go on:",
          vm)) {
    return *ended;
  }
  v1::FinishRequest request;
  request.set_vm(vm);
  request.set_request_id(session.options.request_id);
  request.set_reason(session.options.reason);
  const Reply<v1::Operation> begun =
      session.Call(&Client::Stub::Finish, request);
  return begun.ok() ? Begun(session, begun.value) : session.Fail(*begun.error);
}

int Enable(Session& session) {
  v1::EnableVmRequest request;
  request.set_vm(session.options.vm);
  request.set_undo(session.options.undo);
  request.set_dry_run(session.options.dry_run);
  request.set_reason(session.options.reason);
  return CallAndPrint(session, &Client::Stub::EnableVm, request, &EnableText);
}

int History(Session& session) {
  v1::ListOperationsRequest request;
  request.set_limit(session.options.limit);
  return CallAndPrint(session, &Client::Stub::ListOperations, request,
                      &HistoryText);
}

int Report(Session& session) {
  v1::GetReportRequest request;
  request.set_update_id(session.options.id);
  return CallAndPrint(session, &Client::Stub::GetReport, request, &ReportText);
}

// Versions are told without a daemon as well.
int Version(Session& session) {
  const Reply<v1::HostInfo> info =
      session.Call(&Client::Stub::GetHostInfo, v1::GetHostInfoRequest());
  const std::string daemon = info.ok() ? info.value.version() : "";
  if (session.options.json) {
    google::protobuf::Struct versions;
    auto& fields = *versions.mutable_fields();
    fields["hostupdatectl"].set_string_value(kVersion);
    fields["hostupdated"].set_string_value(daemon);
    session.console.out(ToJson(versions).value_or(""));
  } else {
    session.console.out(absl::StrCat(
        "hostupdatectl ", kVersion, "\nhostupdated ",
        info.ok() ? daemon : absl::StrCat("? ", info.error->message), "\n"));
  }
  return End(ExitCode::kOk);
}

}  // namespace

int RunCommand(const Options& options, const Console& console) {
  Client client(options.socket, /*may_prompt=*/console.in_terminal);
  Session session{options, console, client};
  switch (options.command) {
    case Command::kStatus:
      return CallAndPrint(session, &Client::Stub::GetHostInfo,
                          v1::GetHostInfoRequest(), &HostText);
    case Command::kCheck:
      return Check(session);
    case Command::kPlan:
      return Plan(session);
    case Command::kPrepare:
      return Prepare(session);
    case Command::kUpdate:
      return Update(session);
    case Command::kAbort:
      return Abort(session);
    case Command::kWatch:
      return Watch(session);
    case Command::kVms:
      return CallAndPrint(session, &Client::Stub::ListVms, v1::ListVmsRequest(),
                          &VmsText);
    case Command::kEnable:
      return Enable(session);
    case Command::kRestartVmm:
      return RestartVmm(session);
    case Command::kHistory:
      return History(session);
    case Command::kReport:
      return Report(session);
    case Command::kRecover:
      return Recover(session);
    case Command::kFinish:
      return Finish(session);
    case Command::kRollback:
      return Rollback(session);
    case Command::kVersion:
      return Version(session);
  }
  return End(ExitCode::kUsage);
}

}  // namespace live_update::ctl
