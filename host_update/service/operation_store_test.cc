#include "host_update/service/operation_store.h"

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OperationStoreTest : public ::testing::Test {
 protected:
  OperationStoreTest()
      : directory_(absl::StrCat(
            ::testing::TempDir(), "/",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    Reopen();
  }

  // As after the end of one daemon and the start of the next.
  void Reopen() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<OperationStore>> opened =
        OperationStore::Open(directory_);
    ASSERT_THAT(opened, IsOk());
    store_ = *std::move(opened);
  }

  absl::StatusOr<v1::Operation> Begin(const std::string& request_id = "") {
    v1::Operation operation;
    operation.set_kind(v1::Operation::UPDATE);
    operation.set_request_id(request_id);
    operation.set_requested_by("uid 0, pid 1");
    return store_->Begin(operation, is_new_);
  }

  std::vector<v1::Event> Events(uint64_t after = 0) {
    return store_->EventsAfter(after, "", absl::InfinitePast());
  }

  std::vector<std::string> Messages() {
    std::vector<std::string> messages;
    for (const v1::Event& event : Events()) messages.push_back(event.message());
    return messages;
  }

  const std::string directory_;
  std::unique_ptr<OperationStore> store_;
  bool is_new_ = false;
};

TEST_F(OperationStoreTest, TellsWhatHappenedInOrder) {
  const absl::StatusOr<v1::Operation> operation = Begin();
  ASSERT_THAT(operation, IsOk());
  EXPECT_TRUE(is_new_);
  store_->EnterPhase(operation->id(), "prepare");
  store_->EnterPhase(operation->id(), "pause");
  store_->End(
      operation->id(),
      {.state = v1::Operation::FAILED, .exit_code = 1, .error = "no room"});
  EXPECT_THAT(Messages(), ElementsAre("asked for by uid 0, pid 1", "prepare",
                                      "pause", "failed: no room"));
  const auto ended = store_->Get(operation->id());
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->state(), v1::Operation::FAILED);
  EXPECT_EQ(ended->error(), "no room");
}

TEST_F(OperationStoreTest, RunsOneAtATime) {
  ASSERT_THAT(Begin(), IsOk());
  const absl::StatusOr<v1::Operation> second = Begin();
  EXPECT_THAT(second, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_EQ(CodeOf(second.status()), "BUSY");
  EXPECT_THAT(store_->List(10), SizeIs(1));
}

TEST_F(OperationStoreTest, AnswersARequestIdOnceAndForAll) {
  const absl::StatusOr<v1::Operation> first = Begin("patch-7");
  ASSERT_THAT(first, IsOk());
  store_->End(first->id(), {});
  Reopen();
  const absl::StatusOr<v1::Operation> again = Begin("patch-7");
  ASSERT_THAT(again, IsOk());
  EXPECT_FALSE(is_new_);
  EXPECT_EQ(again->id(), first->id());
  EXPECT_EQ(again->state(), v1::Operation::FAILED);
}

TEST_F(OperationStoreTest, RefusesWhatIsNoRequestId) {
  EXPECT_THAT(Begin("../x"), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(Begin(std::string(65, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(store_->List(10), IsEmpty());
}

TEST_F(OperationStoreTest, KnowsAfterAKexecWhatWasUnderWay) {
  const absl::StatusOr<v1::Operation> operation = Begin();
  ASSERT_THAT(operation, IsOk());
  store_->EnterPhase(operation->id(), "prepare");
  // Of these nothing is written: the next kernel doesn't know them, but a
  // client may.
  store_->EnterPhase(operation->id(), "pause");
  store_->EnterPhase(operation->id(), "jump");
  const uint64_t seen = store_->last_sequence();
  Reopen();
  ASSERT_THAT(store_->Running(), SizeIs(1));
  EXPECT_EQ(store_->Running()[0].phase(), "prepare");
  store_->EnterPhase(operation->id(), "restore");
  store_->End(operation->id(), {.state = v1::Operation::SUCCEEDED});
  const std::vector<v1::Event> later = Events(seen);
  ASSERT_THAT(later, SizeIs(2));
  EXPECT_EQ(later[0].message(), "restore");
  EXPECT_EQ(later[1].state(), v1::Operation::SUCCEEDED);
}

TEST_F(OperationStoreTest, CanBeAbortedUpToTheJump) {
  const absl::StatusOr<v1::Operation> operation = Begin();
  ASSERT_THAT(operation, IsOk());
  store_->EnterPhase(operation->id(), "commit");
  EXPECT_TRUE(store_->Get(operation->id())->abortable());
  store_->EnterPhase(operation->id(), "jump");
  EXPECT_FALSE(store_->Get(operation->id())->abortable());
}

TEST_F(OperationStoreTest, LeavesAloneWhatItCannotRead) {
  const std::string torn = absl::StrCat(directory_, "/torn.json");
  const std::string other = absl::StrCat(directory_, "/other.json");
  ASSERT_THAT(WriteFileAtomically(torn, "{\"operation\": {"), IsOk());
  ASSERT_THAT(WriteFileAtomically(other, "{\"operation\": {\"id\": \"x\"}}"),
              IsOk());
  Reopen();
  EXPECT_THAT(store_->List(10), IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(torn));
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST_F(OperationStoreTest, ForgetsTheOldestThatHaveEnded) {
  absl::StatusOr<v1::Operation> first = Begin();
  ASSERT_THAT(first, IsOk());
  store_->End(first->id(), {});
  absl::SleepFor(absl::Milliseconds(2));  // So that it is the oldest.
  for (int i = 0; i < 200; ++i) {
    const absl::StatusOr<v1::Operation> operation = Begin();
    ASSERT_THAT(operation, IsOk());
    store_->End(operation->id(), {});
  }
  EXPECT_THAT(store_->List(1000), SizeIs(200));
  EXPECT_FALSE(store_->Get(first->id()).has_value());
  EXPECT_FALSE(std::filesystem::exists(
      absl::StrCat(directory_, "/", first->id(), ".json")));
}

TEST_F(OperationStoreTest, WakesWhoWaitsForAnEvent) {
  const absl::StatusOr<v1::Operation> operation = Begin();
  ASSERT_THAT(operation, IsOk());
  const uint64_t seen = store_->last_sequence();
  std::thread later([&] {
    absl::SleepFor(absl::Milliseconds(20));
    store_->EnterPhase(operation->id(), "prepare");
  });
  const std::vector<v1::Event> events = store_->EventsAfter(
      seen, operation->id(), absl::Now() + absl::Seconds(60));
  later.join();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].phase(), "prepare");
}

TEST(OperationStoreOpenTest, NeedsItsDirectory) {
  EXPECT_THAT(OperationStore::Open("/nonexistent"),
              StatusIs(absl::StatusCode::kNotFound, _));
}

}  // namespace
}  // namespace live_update
