// The calls of host_update.proto, for one caller.

#ifndef HOST_UPDATE_SERVICE_HOST_UPDATE_SERVICE_H_
#define HOST_UPDATE_SERVICE_HOST_UPDATE_SERVICE_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "host_update/service/authority.h"
#include "host_update/service/caller.h"
#include "host_update/service/host_update.grpc.pb.h"
#include "host_update/service/operation_runner.h"
#include "host_update/service/operation_store.h"
#include "host_update/service/worker_client.h"

namespace live_update {

// What all callers share; must outlive the services.
struct ServiceParts {
  OperationStore& store;
  OperationRunner& runner;
  WorkerClient& workers;
  Authority authority;
};

// One connection's service: whoever calls through it is `caller`.
class HostUpdateService : public v1::HostUpdate::Service {
 public:
  HostUpdateService(ServiceParts parts, Caller caller, Access access)
      : parts_(std::move(parts)), caller_(std::move(caller)), access_(access) {}

  using Context = grpc::ServerContext;

  grpc::Status GetHostInfo(Context* context, const v1::GetHostInfoRequest*,
                           v1::HostInfo* info) override;
  grpc::Status ListVms(Context* context, const v1::ListVmsRequest*,
                       v1::ListVmsResponse* response) override;
  grpc::Status ListOperations(Context*,
                              const v1::ListOperationsRequest* request,
                              v1::ListOperationsResponse* response) override;
  grpc::Status GetOperation(Context*, const v1::GetOperationRequest* request,
                            v1::Operation* operation) override;
  grpc::Status GetReport(Context* context, const v1::GetReportRequest* request,
                         UpdateReport* report) override;
  grpc::Status Watch(Context* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::Event>* writer) override;
  grpc::Status Check(Context* context, const v1::CheckRequest* request,
                     CheckReport* report) override;
  grpc::Status Plan(Context* context, const v1::PlanRequest* request,
                    UpdatePlan* plan) override;
  grpc::Status Prepare(Context*, const v1::ExecuteRequest* request,
                       v1::Operation* operation) override;
  grpc::Status Execute(Context*, const v1::ExecuteRequest* request,
                       v1::Operation* operation) override;
  grpc::Status Abort(Context*, const v1::AbortRequest* request,
                     v1::Operation* operation) override;
  grpc::Status Recover(Context*, const v1::RecoverRequest* request,
                       v1::Operation* operation) override;
  grpc::Status Finish(Context*, const v1::FinishRequest* request,
                      v1::Operation* operation) override;
  grpc::Status RestartVmm(Context*, const v1::RestartVmmRequest* request,
                          v1::Operation* operation) override;
  grpc::Status EnableVm(Context* context, const v1::EnableVmRequest* request,
                        EnableReport* report) override;

 private:
  // PERMISSION_DENIED for who may only read. May ask the authority, and wait
  // for its answer.
  grpc::Status MayManage(const Context& context, const char* call) const;
  // One line in the log for each call that changes something.
  void Audit(const char* call, const std::string& what,
             const std::string& reason) const;
  grpc::Status Ask(const Context& context, const WorkerRequest& request,
                   WorkerReply::Result& result) const;
  // The same, for what is in the result: `take` is its accessor.
  template <typename Answer>
  grpc::Status AskFor(Answer* (WorkerReply::Result::*take)(),
                      const Context& context, const WorkerRequest& request,
                      Answer* answer) const;
  // UPDATE, or PREPARE.
  grpc::Status BeginUpdate(const Context& context, v1::Operation::Kind kind,
                           const v1::ExecuteRequest& request,
                           v1::Operation* operation);
  grpc::Status Start(v1::Operation operation, WorkerRequest request,
                     v1::Operation* started);

  const ServiceParts parts_;
  const Caller caller_;
  const Access access_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_HOST_UPDATE_SERVICE_H_
