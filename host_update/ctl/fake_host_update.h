// A hostupdated that does nothing, for tests: it answers what it is told to, on
// a real UNIX socket.

#ifndef HOST_UPDATE_CTL_FAKE_HOST_UPDATE_H_
#define HOST_UPDATE_CTL_FAKE_HOST_UPDATE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"
#include "host_update/service/host_update.grpc.pb.h"

namespace live_update::ctl {

// A status with an ErrorDetail, as hostupdated returns.
grpc::Status ErrorStatus(grpc::StatusCode status, const std::string& message,
                         const std::string& code, const std::string& remedy,
                         const std::string& vms_now);

// Fields are set before a call, and read after it.
class FakeHostUpdate final : public v1::HostUpdate::Service {
 public:
  // Listens on a socket in a directory of its own.
  FakeHostUpdate();
  ~FakeHostUpdate() override;

  const std::string& socket() const { return socket_; }
  void Start();
  // Breaks every connection.
  void Stop();
  // Returns when a Watch hangs (see hang_after).
  void WaitForHang();

  // What every call but Watch returns instead, unless it is OK.
  grpc::Status error;

  v1::HostInfo info;
  v1::ListVmsResponse vms;
  std::vector<v1::Operation> operations;        // The first one is what begins.
  std::map<std::string, UpdateReport> reports;  // "": the last one.
  CheckReport check;
  UpdatePlan plan;

  std::vector<v1::Event> events;
  // After the event of this sequence number the first stream that gets there
  // fails, or hangs until it is cancelled. 0: none does.
  uint64_t fail_after = 0;
  uint64_t hang_after = 0;
  grpc::Status failure{grpc::StatusCode::UNAVAILABLE, "Socket closed"};

  std::vector<std::string> calls;  // Names, in order.
  bool may_prompt = false;         // As GetHostInfo was told.
  v1::CheckRequest check_request;
  v1::PlanRequest plan_request;
  v1::ExecuteRequest execute_request;
  v1::AbortRequest abort_request;
  v1::RecoverRequest recover_request;
  v1::FinishRequest finish_request;
  v1::EnableVmRequest enable_request;
  v1::RestartVmmRequest restart_request;
  std::vector<v1::WatchRequest> watch_requests;

 private:
  using Context = grpc::ServerContext;

  grpc::Status GetHostInfo(Context*, const v1::GetHostInfoRequest*,
                           v1::HostInfo* response) override;
  grpc::Status ListVms(Context*, const v1::ListVmsRequest*,
                       v1::ListVmsResponse* response) override;
  grpc::Status ListOperations(Context*, const v1::ListOperationsRequest*,
                              v1::ListOperationsResponse* response) override;
  grpc::Status GetOperation(Context*, const v1::GetOperationRequest* request,
                            v1::Operation* response) override;
  grpc::Status GetReport(Context*, const v1::GetReportRequest* request,
                         UpdateReport* response) override;
  grpc::Status Watch(Context* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::Event>* writer) override;
  grpc::Status Check(Context*, const v1::CheckRequest* request,
                     CheckReport* response) override;
  grpc::Status Plan(Context*, const v1::PlanRequest* request,
                    UpdatePlan* response) override;
  grpc::Status Prepare(Context*, const v1::ExecuteRequest* request,
                       v1::Operation* response) override;
  grpc::Status Execute(Context*, const v1::ExecuteRequest* request,
                       v1::Operation* response) override;
  grpc::Status Abort(Context*, const v1::AbortRequest* request,
                     v1::Operation* response) override;
  grpc::Status Recover(Context*, const v1::RecoverRequest* request,
                       v1::Operation* response) override;
  grpc::Status Finish(Context*, const v1::FinishRequest* request,
                      v1::Operation* response) override;
  grpc::Status RestartVmm(Context*, const v1::RestartVmmRequest* request,
                          v1::Operation* response) override;
  grpc::Status EnableVm(Context*, const v1::EnableVmRequest* request,
                        EnableReport* response) override;

  // Records the call; returns `error`, or OK with `response` filled in.
  template <typename Message>
  grpc::Status Answer(const std::string& call, const Message& answer,
                      Message* response);

  std::string directory_;
  std::string socket_;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex mutex_;
  bool hangs_ = false;  // Guarded by mutex_.
};

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_FAKE_HOST_UPDATE_H_
