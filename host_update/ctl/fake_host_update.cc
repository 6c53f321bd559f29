#include "host_update/ctl/fake_host_update.h"

#include <stdlib.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace live_update::ctl {

grpc::Status ErrorStatus(grpc::StatusCode status, const std::string& message,
                         const std::string& code, const std::string& remedy,
                         const std::string& vms_now) {
  v1::ErrorDetail detail;
  detail.set_code(code);
  detail.set_remedy(remedy);
  detail.set_vms_now(vms_now);
  return grpc::Status(status, message, detail.SerializeAsString());
}

FakeHostUpdate::FakeHostUpdate() {
  // Short: a socket's path has at most 107 bytes.
  char name[] = "/tmp/fake-host-update-XXXXXX";
  directory_ = mkdtemp(name);
  socket_ = absl::StrCat(directory_, "/api.sock");
  Start();
}

FakeHostUpdate::~FakeHostUpdate() {
  Stop();
  unlink(socket_.c_str());
  rmdir(directory_.c_str());
}

void FakeHostUpdate::Start() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("unix:", socket_),
                           grpc::InsecureServerCredentials());
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

void FakeHostUpdate::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeHostUpdate::WaitForHang() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&hangs_));
}

template <typename Message>
grpc::Status FakeHostUpdate::Answer(const std::string& call,
                                    const Message& answer, Message* response) {
  calls.push_back(call);
  if (!error.ok()) return error;
  *response = answer;
  return grpc::Status::OK;
}

grpc::Status FakeHostUpdate::GetHostInfo(Context* context,
                                         const v1::GetHostInfoRequest*,
                                         v1::HostInfo* response) {
  may_prompt = context->client_metadata().count("allow-interaction") > 0;
  return Answer("GetHostInfo", info, response);
}

grpc::Status FakeHostUpdate::ListVms(Context*, const v1::ListVmsRequest*,
                                     v1::ListVmsResponse* response) {
  return Answer("ListVms", vms, response);
}

grpc::Status FakeHostUpdate::ListOperations(
    Context*, const v1::ListOperationsRequest*,
    v1::ListOperationsResponse* response) {
  v1::ListOperationsResponse answer;
  for (const v1::Operation& operation : operations) {
    *answer.add_operations() = operation;
    answer.mutable_operations(answer.operations_size() - 1)->clear_report();
  }
  return Answer("ListOperations", answer, response);
}

grpc::Status FakeHostUpdate::GetOperation(
    Context*, const v1::GetOperationRequest* request, v1::Operation* response) {
  for (const v1::Operation& operation : operations) {
    if (operation.id() == request->id()) {
      return Answer("GetOperation", operation, response);
    }
  }
  return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such operation");
}

grpc::Status FakeHostUpdate::GetReport(Context*,
                                       const v1::GetReportRequest* request,
                                       UpdateReport* response) {
  const auto report = reports.find(request->update_id());
  if (report == reports.end()) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such report");
  }
  return Answer("GetReport", report->second, response);
}

grpc::Status FakeHostUpdate::Watch(Context* context,
                                   const v1::WatchRequest* request,
                                   grpc::ServerWriter<v1::Event>* writer) {
  watch_requests.push_back(*request);
  for (const v1::Event& event : events) {
    if (event.sequence() <= request->after_sequence() ||
        (!request->operation_id().empty() &&
         event.operation_id() != request->operation_id())) {
      continue;
    }
    writer->Write(event);
    if (event.sequence() == fail_after) {
      fail_after = 0;
      return failure;
    }
    if (event.sequence() == hang_after) {
      hang_after = 0;
      {
        absl::MutexLock lock(&mutex_);
        hangs_ = true;
      }
      while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
      return grpc::Status::CANCELLED;
    }
  }
  return grpc::Status::OK;
}

grpc::Status FakeHostUpdate::Check(Context*, const v1::CheckRequest* request,
                                   CheckReport* response) {
  check_request = *request;
  return Answer("Check", check, response);
}

grpc::Status FakeHostUpdate::Plan(Context*, const v1::PlanRequest* request,
                                  UpdatePlan* response) {
  plan_request = *request;
  return Answer("Plan", plan, response);
}

grpc::Status FakeHostUpdate::Prepare(Context*,
                                     const v1::ExecuteRequest* request,
                                     v1::Operation* response) {
  execute_request = *request;
  return Answer("Prepare", operations.at(0), response);
}

grpc::Status FakeHostUpdate::Execute(Context*,
                                     const v1::ExecuteRequest* request,
                                     v1::Operation* response) {
  execute_request = *request;
  return Answer("Execute", operations.at(0), response);
}

grpc::Status FakeHostUpdate::Abort(Context*, const v1::AbortRequest* request,
                                   v1::Operation* response) {
  abort_request = *request;
  return Answer("Abort", operations.at(0), response);
}

grpc::Status FakeHostUpdate::Recover(Context*,
                                     const v1::RecoverRequest* request,
                                     v1::Operation* response) {
  recover_request = *request;
  return Answer("Recover", operations.at(0), response);
}

grpc::Status FakeHostUpdate::Finish(Context*, const v1::FinishRequest* request,
                                    v1::Operation* response) {
  finish_request = *request;
  return Answer("Finish", operations.at(0), response);
}

grpc::Status FakeHostUpdate::RestartVmm(Context*,
                                        const v1::RestartVmmRequest* request,
                                        v1::Operation* response) {
  restart_request = *request;
  return Answer("RestartVmm", operations.at(0), response);
}

grpc::Status FakeHostUpdate::EnableVm(Context*,
                                      const v1::EnableVmRequest* request,
                                      EnableReport* response) {
  enable_request = *request;
  response->set_vm(request->vm());
  response->set_changed(true);
  response->set_diff("+<access mode='shared'/>\n");
  return grpc::Status::OK;
}

}  // namespace live_update::ctl
