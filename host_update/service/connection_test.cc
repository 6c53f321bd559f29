// A client, a connection, the service and the store are the real ones; only the
// worker, which would need a host, is a fake.

#include "host_update/service/connection.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel_posix.h"
#include "gtest/gtest.h"
#include "host_update/cli/exit_code.h"
#include "host_update/service/authority.h"
#include "host_update/service/caller.h"
#include "host_update/service/connections.h"
#include "host_update/service/metadata.h"
#include "host_update/worker/framed_message.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Workers that do what the test says: each request is kept, and its other end
// is the test's to answer at.
class FakeWorkers : public WorkerClient {
 public:
  absl::StatusOr<std::unique_ptr<WorkerCall>> Begin(
      const WorkerRequest& request) override {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      return absl::InternalError("socketpair");
    }
    absl::MutexLock lock(&mutex_);
    if (gone_) return absl::UnavailableError("no worker can be reached");
    requests_.push_back(request);
    ends_.emplace_back(ends[1]);
    return std::make_unique<WorkerCall>(UniqueFd(ends[0]));
  }

  // The next worker that was started, once it is.
  UniqueFd Next(WorkerRequest* request = nullptr) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](std::deque<UniqueFd>* ends) { return !ends->empty(); }, &ends_));
    UniqueFd end = std::move(ends_.front());
    ends_.pop_front();
    if (request != nullptr) *request = requests_.front();
    requests_.pop_front();
    return end;
  }

  void SetGone() {
    absl::MutexLock lock(&mutex_);
    gone_ = true;
  }

 private:
  absl::Mutex mutex_;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<WorkerRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::deque<UniqueFd> ends_ ABSL_GUARDED_BY(mutex_);
};

void Enter(const UniqueFd& worker, const std::string& phase) {
  WorkerReply reply;
  reply.set_phase(phase);
  ASSERT_THAT(SendMessage(worker.get(), reply, kLargestReply,
                          absl::Now() + absl::Seconds(10)),
              IsOk());
}

void Answer(const UniqueFd& worker, ExitCode code,
            WorkerReply::Result result = {}) {
  WorkerReply reply;
  *reply.mutable_result() = std::move(result);
  reply.mutable_result()->set_exit_code(static_cast<int>(code));
  ASSERT_THAT(SendMessage(worker.get(), reply, kLargestReply,
                          absl::Now() + absl::Seconds(10)),
              IsOk());
}

// Whether the daemon has asked this worker to stop.
bool IsAskedToStop(const UniqueFd& worker) {
  char byte;
  ssize_t got = 1;
  while (got > 0) got = read(worker.get(), &byte, 1);
  return got == 0;
}

v1::ErrorDetail DetailOf(const grpc::Status& status) {
  v1::ErrorDetail detail;
  detail.ParseFromString(status.error_details());
  return detail;
}

class ConnectionTest : public ::testing::Test {
 protected:
  ConnectionTest()
      : directory_(absl::StrCat(
            ::testing::TempDir(), "/",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    store_ = *OperationStore::Open(directory_);
    runner_ = std::make_unique<OperationRunner>(*store_, workers_);
    stub_ = Connect(Access::kManage);
  }

  ~ConnectionTest() override {
    stop_.Set();
    for (std::thread& thread : served_) thread.join();
  }

  std::unique_ptr<v1::HostUpdate::Stub> Connect(Access access) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                         ends),
              0);
    served_.emplace_back([this, access, fd = ends[0]] {
      ServeConnection(
          UniqueFd(fd), Caller{.uid = 1000, .pid = 4711}, access,
          {.store = *store_,
           .runner = *runner_,
           .workers = workers_,
           .authority =
               [this](const Caller& caller, const AuthorityQuestion& question) {
                 return Decide(caller, question);
               }},
          stop_);
    });
    return v1::HostUpdate::NewStub(
        grpc::CreateInsecureChannelFromFd("hostupdated", ends[1]));
  }

  // What polkit would do.
  absl::Status Decide(const Caller& caller, const AuthorityQuestion& question) {
    EXPECT_EQ(caller.uid, 1000U);
    EXPECT_FALSE(question.is_cancelled());
    absl::MutexLock lock(&mutex_);
    questions_.push_back(question);
    return decision_;
  }

  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(60));
  }

  grpc::Status Execute(v1::HostUpdate::Stub& stub, v1::Operation& operation,
                       const std::string& request_id = "") {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ExecuteRequest request;
    request.mutable_target()->set_kernel("/boot/vmlinuz");
    request.set_plan_hash("12ab");
    request.set_request_id(request_id);
    request.set_reason("CVE-2026-1");
    return stub.Execute(&context, request, &operation);
  }

  // All events of an operation, up to its end.
  std::vector<v1::Event> Watch(const std::string& id) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::WatchRequest request;
    request.set_operation_id(id);
    auto reader = stub_->Watch(&context, request);
    std::vector<v1::Event> events;
    v1::Event event;
    while (reader->Read(&event)) events.push_back(event);
    EXPECT_TRUE(reader->Finish().ok());
    return events;
  }

  const std::string directory_;
  FakeWorkers workers_;
  WakeUp stop_ = *WakeUp::Create();
  std::unique_ptr<OperationStore> store_;
  std::unique_ptr<OperationRunner> runner_;
  absl::Mutex mutex_;
  absl::Status decision_ ABSL_GUARDED_BY(mutex_);
  std::vector<AuthorityQuestion> questions_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> served_;
  std::unique_ptr<v1::HostUpdate::Stub> stub_;
};

TEST_F(ConnectionTest, AnUpdateIsHandedToAWorkerAndWatched) {
  v1::Operation operation;
  ASSERT_TRUE(Execute(*stub_, operation).ok());
  EXPECT_EQ(operation.requested_by(), "uid 1000, pid 4711");
  WorkerRequest request;
  const UniqueFd worker = workers_.Next(&request);
  EXPECT_EQ(request.update().update_id(), operation.id());
  EXPECT_EQ(request.update().request().plan_hash(), "12ab");
  Enter(worker, "prepare");
  WorkerReply::Result result;
  result.mutable_report()->set_result(UpdateReport::FAILED_UNHARMED);
  result.mutable_report()->set_reason("no room for the state");
  Answer(worker, ExitCode::kFailedUnharmed, result);

  const std::vector<v1::Event> events = Watch(operation.id());
  ASSERT_THAT(events, SizeIs(3));
  EXPECT_EQ(events[1].phase(), "prepare");
  EXPECT_EQ(events[2].state(), v1::Operation::FAILED);
  EXPECT_EQ(events[2].exit_code(), 1);
  const auto ended = store_->Get(operation.id());
  EXPECT_EQ(ended->error(), "no room for the state");
  EXPECT_EQ(ended->reason(), "CVE-2026-1");
}

TEST_F(ConnectionTest, ARestartEndsWithItsReport) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::RestartVmmRequest request;
  request.add_vms("vm1");
  request.add_vms("vm2");
  v1::Operation operation;
  ASSERT_TRUE(stub_->RestartVmm(&context, request, &operation).ok());
  EXPECT_EQ(operation.kind(), v1::Operation::RESTART_VMM);
  EXPECT_EQ(operation.vm(), "vm1 vm2");
  EXPECT_TRUE(operation.abortable());
  WorkerRequest asked;
  const UniqueFd worker = workers_.Next(&asked);
  EXPECT_EQ(asked.restart_vmm().restart_id(), operation.id());
  EXPECT_EQ(asked.restart_vmm().request().vms_size(), 2);

  WorkerReply::Result result;
  result.mutable_restart()->set_result(RestartReport::UNHARMED);
  RestartedVm& done = *result.mutable_restart()->add_vms();
  done.mutable_vm()->set_name("vm1");
  done.set_result(RestartedVm::RESTARTED);
  RestartedVm& refused = *result.mutable_restart()->add_vms();
  refused.mutable_vm()->set_name("vm2");
  refused.set_result(RestartedVm::REFUSED);
  refused.set_reason("BLOCK_JOB");
  Answer(worker, ExitCode::kFailedUnharmed, result);
  Watch(operation.id());
  const auto ended = store_->Get(operation.id());
  EXPECT_EQ(ended->state(), v1::Operation::FAILED);
  EXPECT_EQ(ended->error(), "vm2: BLOCK_JOB");
  EXPECT_EQ(ended->restart().vms_size(), 2);
  EXPECT_FALSE(store_->List(1)[0].has_restart());
}

TEST_F(ConnectionTest, WhoMayOnlyLookChangesNothing) {
  const auto reader = Connect(Access::kRead);
  v1::Operation operation;
  const grpc::Status refused = Execute(*reader, operation);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(DetailOf(refused).code(), "PERMISSION");
  EXPECT_THAT(DetailOf(refused).vms_now(), HasSubstr("VMs run on"));

  const auto call = [&](auto method, auto request, auto response) {
    grpc::ClientContext context;
    SetDeadline(context);
    return ((*reader).*method)(&context, request, &response).error_code();
  };
  using Stub = v1::HostUpdate::Stub;
  EXPECT_EQ(call(&Stub::Check, v1::CheckRequest(), CheckReport()),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call(&Stub::Plan, v1::PlanRequest(), UpdatePlan()),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call(&Stub::Abort, v1::AbortRequest(), v1::Operation()),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call(&Stub::Recover, v1::RecoverRequest(), v1::Operation()),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call(&Stub::Finish, v1::FinishRequest(), v1::Operation()),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call(&Stub::RestartVmm, v1::RestartVmmRequest(), v1::Operation()),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call(&Stub::ListOperations, v1::ListOperationsRequest(),
                 v1::ListOperationsResponse()),
            grpc::StatusCode::OK);
  EXPECT_THAT(store_->List(10), IsEmpty());
}

TEST_F(ConnectionTest, OthersMayWhatTheAuthorityGrants) {
  const auto other = Connect(Access::kAsk);
  v1::Operation operation;
  ASSERT_TRUE(Execute(*other, operation).ok());
  Answer(workers_.Next(), ExitCode::kFailedUnharmed);
  Watch(operation.id());
  absl::MutexLock lock(&mutex_);
  ASSERT_THAT(questions_, SizeIs(1));  // Not for Watch.
  EXPECT_EQ(questions_[0].call, "Execute");
  EXPECT_FALSE(questions_[0].may_prompt);
  EXPECT_GT(questions_[0].patience, absl::Seconds(1));
}

TEST_F(ConnectionTest, OthersMayNothingIfTheAuthorityCannotBeAsked) {
  {
    absl::MutexLock lock(&mutex_);
    decision_ = absl::UnavailableError("polkit can't be asked");
  }
  const auto other = Connect(Access::kAsk);
  v1::Operation operation;
  const grpc::Status refused = Execute(*other, operation);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(DetailOf(refused).code(), "PERMISSION");
  EXPECT_THAT(refused.error_message(), HasSubstr("polkit can't be asked"));
  EXPECT_THAT(store_->List(10), IsEmpty());

  grpc::ClientContext context;
  SetDeadline(context);
  v1::ListOperationsResponse operations;
  EXPECT_TRUE(
      other->ListOperations(&context, v1::ListOperationsRequest(), &operations)
          .ok());
}

TEST_F(ConnectionTest, WhoManagesIsNotAskedAbout) {
  {
    absl::MutexLock lock(&mutex_);
    decision_ = absl::UnavailableError("polkit can't be asked");
  }
  v1::Operation operation;
  ASSERT_TRUE(Execute(*stub_, operation).ok());
  Answer(workers_.Next(), ExitCode::kFailedUnharmed);
  absl::MutexLock lock(&mutex_);
  EXPECT_THAT(questions_, IsEmpty());
}

TEST_F(ConnectionTest, AClientMayLetItsUserBeAsked) {
  const auto other = Connect(Access::kAsk);
  grpc::ClientContext context;
  SetDeadline(context);
  context.AddMetadata(kMayPrompt, "1");
  v1::Operation operation;
  EXPECT_FALSE(other->Abort(&context, v1::AbortRequest(), &operation).ok());
  absl::MutexLock lock(&mutex_);
  ASSERT_THAT(questions_, SizeIs(1));
  EXPECT_TRUE(questions_[0].may_prompt);
}

TEST_F(ConnectionTest, TheSameRequestBeginsNothingTwice) {
  v1::Operation first, second;
  ASSERT_TRUE(Execute(*stub_, first, "patch-7").ok());
  ASSERT_TRUE(Execute(*stub_, second, "patch-7").ok());
  EXPECT_EQ(first.id(), second.id());
  v1::Operation third;
  const grpc::Status busy = Execute(*stub_, third, "patch-8");
  EXPECT_EQ(busy.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailOf(busy).code(), "BUSY");
  Answer(workers_.Next(), ExitCode::kFailedUnharmed);
}

TEST_F(ConnectionTest, AnAbortReachesTheWorker) {
  v1::Operation operation;
  ASSERT_TRUE(Execute(*stub_, operation).ok());
  const UniqueFd worker = workers_.Next();
  Enter(worker, "prepare");
  grpc::ClientContext context;
  SetDeadline(context);
  v1::Operation aborted;
  ASSERT_TRUE(stub_->Abort(&context, v1::AbortRequest(), &aborted).ok());
  EXPECT_EQ(aborted.id(), operation.id());
  EXPECT_TRUE(IsAskedToStop(worker));
  Answer(worker, ExitCode::kAborted);
  EXPECT_EQ(Watch(operation.id()).back().state(), v1::Operation::ABORTED);
}

TEST_F(ConnectionTest, NothingCanBeAbortedInTheJump) {
  v1::Operation operation;
  ASSERT_TRUE(Execute(*stub_, operation).ok());
  const UniqueFd worker = workers_.Next();
  Enter(worker, "jump");
  store_->EventsAfter(1, operation.id(), absl::Now() + absl::Seconds(60));
  grpc::ClientContext context;
  SetDeadline(context);
  v1::Operation aborted;
  EXPECT_EQ(stub_->Abort(&context, v1::AbortRequest(), &aborted).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  Answer(worker, ExitCode::kFailedUnharmed);
}

TEST_F(ConnectionTest, AWorkerThatDiesIsTakenBack) {
  v1::Operation operation;
  ASSERT_TRUE(Execute(*stub_, operation).ok());
  {
    const UniqueFd worker = workers_.Next();
    Enter(worker, "pause");
  }
  WorkerRequest request;
  const UniqueFd second = workers_.Next(&request);
  EXPECT_TRUE(request.has_undo());
  Answer(second, ExitCode::kOk);
  const v1::Event end = Watch(operation.id()).back();
  EXPECT_EQ(end.state(), v1::Operation::FAILED);
  EXPECT_EQ(end.exit_code(), static_cast<int>(ExitCode::kFailedUnharmed));
  EXPECT_THAT(end.message(), HasSubstr("taken back"));
}

TEST_F(ConnectionTest, AWorkerThatCannotBeTakenBackIsNoSmallMatter) {
  v1::Operation operation;
  ASSERT_TRUE(Execute(*stub_, operation).ok());
  workers_.Next();
  WorkerReply::Result result;
  result.set_error("vm1 is still paused");
  Answer(workers_.Next(), ExitCode::kVmNotBack, result);
  const v1::Event end = Watch(operation.id()).back();
  EXPECT_EQ(end.exit_code(), static_cast<int>(ExitCode::kVmNotBack));
  EXPECT_THAT(end.message(), HasSubstr("vm1 is still paused"));
}

TEST_F(ConnectionTest, WithoutAWorkerTheCallFails) {
  workers_.SetGone();
  v1::Operation operation;
  const grpc::Status failed = Execute(*stub_, operation);
  EXPECT_EQ(failed.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(DetailOf(failed).remedy(), "");
  EXPECT_THAT(store_->Running(), IsEmpty());
}

TEST_F(ConnectionTest, AnOperationOfAnEarlierBootTakesItsReport) {
  bool is_new = false;
  v1::Operation operation;
  operation.set_kind(v1::Operation::UPDATE);
  const v1::Operation begun = *store_->Begin(operation, is_new);
  // As if it had begun in another boot.
  const std::string path = absl::StrCat(directory_, "/", begun.id(), ".json");
  std::string json = *ReadFile(path, 1 << 20);
  json.replace(json.find(begun.boot_id()), begun.boot_id().size(),
               "00000000-0000-0000-0000-000000000000");
  ASSERT_THAT(WriteFileAtomically(path, json), IsOk());
  const auto store = *OperationStore::Open(directory_);
  OperationRunner runner(*store, workers_);
  std::thread worker([&] {
    WorkerRequest request;
    const UniqueFd end = workers_.Next(&request);
    EXPECT_EQ(request.report().update_id(), begun.id());
    WorkerReply::Result result;
    UpdateReport& report = *result.mutable_report();
    report.set_result(UpdateReport::PARTIAL);
    VmReport& vm = *report.add_vms();
    vm.set_name("vm2");
    vm.set_result(VmReport::NOT_RESTORED);
    vm.set_reason("its disk is gone");
    report.add_phases()->set_phase("restore");
    Answer(end, ExitCode::kOk, result);
  });
  runner.SettleInterrupted();
  worker.join();
  const auto settled = store->Get(begun.id());
  EXPECT_EQ(settled->state(), v1::Operation::FAILED);
  EXPECT_EQ(settled->exit_code(), static_cast<int>(ExitCode::kVmNotBack));
  EXPECT_THAT(settled->error(), HasSubstr("vm2: its disk is gone"));
  EXPECT_EQ(settled->phase(), "restore");
}

TEST_F(ConnectionTest, AnOperationOfThisBootIsTakenBack) {
  bool is_new = false;
  v1::Operation operation;
  operation.set_kind(v1::Operation::UPDATE);
  const v1::Operation begun = *store_->Begin(operation, is_new);
  const auto store = *OperationStore::Open(directory_);
  OperationRunner runner(*store, workers_);
  std::thread worker([&] {
    WorkerReply::Result busy;
    Answer(workers_.Next(), ExitCode::kBusy, busy);
    WorkerRequest request;
    const UniqueFd end = workers_.Next(&request);
    EXPECT_TRUE(request.has_undo());
    Answer(end, ExitCode::kOk);
  });
  runner.SettleInterrupted();
  worker.join();
  EXPECT_EQ(store->Get(begun.id())->exit_code(),
            static_cast<int>(ExitCode::kFailedUnharmed));
}

TEST_F(ConnectionTest, AnEndlessMessageIsRefused) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ExecuteRequest request;
  request.mutable_target()->set_kernel(std::string(100 << 10, '/'));
  v1::Operation operation;
  EXPECT_EQ(stub_->Execute(&context, request, &operation).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(store_->List(10), IsEmpty());
}

}  // namespace
}  // namespace live_update
