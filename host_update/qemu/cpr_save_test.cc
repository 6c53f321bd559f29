#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/qemu/cpr_peer.h"
#include "host_update/qemu/fake_qemu.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

class SaveOverCprTest : public ::testing::Test {
 protected:
  SaveOverCprTest() {
    // TempDir() may be longer than a socket path can be.
    std::string name = "/tmp/saveXXXXXX";
    options_.directory = mkdtemp(name.data());
    options_.uid = getuid();
    options_.gid = getgid();
    options_.check_peer = [](pid_t pid, uid_t uid) {
      return pid == getpid() && uid == getuid()
                 ? absl::OkStatus()
                 : absl::PermissionDeniedError("another process");
    };
    knobs_.cpr_stream = SerializeCprStream(ram_).value();
  }
  ~SaveOverCprTest() override {
    EXPECT_TRUE(std::filesystem::is_empty(options_.directory));
    std::filesystem::remove_all(options_.directory);
  }

  absl::StatusOr<SavedVm> Save(absl::Time deadline = Soon()) {
    qemu_.emplace(knobs_);
    return SaveOverCpr(*qemu_, options_, deadline);
  }

  // What a failed save must leave behind.
  void ExpectPausedAndIdle() {
    EXPECT_EQ(qemu_->mode(), "normal");
    EXPECT_EQ(qemu_->run_state(), "paused");
    EXPECT_THAT(qemu_->migration_status(),
                ::testing::AnyOf("none", "failed", "cancelled"));
  }

  CprSaveOptions options_;
  std::vector<CprFd> ram_ = FakeQemu::RamBlocks();
  FakeQemu::Knobs knobs_;
  std::optional<FakeQemu> qemu_;
};

TEST_F(SaveOverCprTest, TakesTheRamAndTheDeviceState) {
  ASSERT_OK_AND_ASSIGN(const SavedVm saved, Save());
  EXPECT_EQ(saved.device_state, "QEVM device state");
  ASSERT_THAT(saved.cpr_fds, SizeIs(3));
  for (size_t i = 0; i < saved.cpr_fds.size(); ++i) {
    EXPECT_EQ(saved.cpr_fds[i].name, ram_[i].name);
    struct stat sent = {};
    struct stat received = {};
    ASSERT_EQ(fstat(ram_[i].fd.get(), &sent), 0);
    ASSERT_EQ(fstat(saved.cpr_fds[i].fd.get(), &received), 0);
    EXPECT_EQ(received.st_ino, sent.st_ino);
  }
  EXPECT_EQ(qemu_->run_state(), "postmigrate");
}

TEST_F(SaveOverCprTest, TakesAStateLargerThanAnyBuffer) {
  knobs_.device_state = std::string(size_t{5} << 20, 's');
  ASSERT_OK_AND_ASSIGN(const SavedVm saved, Save());
  EXPECT_EQ(saved.device_state.size(), size_t{5} << 20);
}

TEST_F(SaveOverCprTest, TakesAStreamThatBlocksQemuUntilItIsRead) {
  std::vector<CprFd> many(400);
  for (size_t i = 0; i < many.size(); ++i) {
    many[i] = {.name = absl::StrCat(std::string(900, 'x'), i),
               .id = 0,
               .fd = UniqueFd(dup(ram_[0].fd.get()))};
  }
  knobs_.cpr_stream = SerializeCprStream(many).value();
  FakeQemu::Knobs knobs = knobs_;
  qemu_.emplace(std::move(knobs));
  ASSERT_OK_AND_ASSIGN(const SavedVm saved,
                       SaveOverCpr(*qemu_, options_, Soon()));
  EXPECT_THAT(saved.cpr_fds, SizeIs(400));
}

TEST_F(SaveOverCprTest, CanSaveAgainAfterAResume) {
  ASSERT_THAT(Save(), IsOk());
  EXPECT_THAT(SaveOverCpr(*qemu_, options_, Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("postmigrate")));
  qemu_->SetRunState("running");
  EXPECT_THAT(
      SaveOverCpr(*qemu_, options_, Soon()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("running")));
  qemu_->SetRunState("paused");
  EXPECT_THAT(SaveOverCpr(*qemu_, options_, Soon()), IsOk());
}

TEST_F(SaveOverCprTest, RefusesTheStreamCutAtEveryByte) {
  std::string all;
  for (const CprStreamPiece& piece : knobs_.cpr_stream) all += piece.bytes;
  for (size_t size = 0; size < all.size(); ++size) {
    knobs_.most_cpr_bytes = size;
    EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kDataLoss,
                                 HasSubstr(absl::StrCat("offset ", size))))
        << size;
    ExpectPausedAndIdle();
  }
}

TEST_F(SaveOverCprTest, RefusesAnotherMagic) {
  knobs_.cpr_stream[0].bytes[0] = 'X';
  EXPECT_THAT(Save(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("magic")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, RefusesAnotherVersion) {
  knobs_.cpr_stream[0].bytes[7] = 9;
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kUnimplemented,
                               HasSubstr("version 9")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, RefusesAHugeName) {
  knobs_.cpr_stream[0].bytes[9] = '\x7f';
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("name length")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, RefusesAMissingDescriptor) {
  knobs_.fds_per_piece = 0;
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("no file descriptor")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, RefusesTooManyDescriptors) {
  // Both: as many as can be counted, and more.
  for (const size_t count : {2, 8}) {
    knobs_.fds_per_piece = count;
    EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("file descriptors")))
        << count;
    ExpectPausedAndIdle();
  }
}

TEST_F(SaveOverCprTest, RefusesADescriptorWithAnotherByte) {
  knobs_.cpr_stream[0].fd = ram_[0].fd.get();
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("not due")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, RefusesAnotherProcess) {
  options_.check_peer = [](pid_t, uid_t) {
    return absl::PermissionDeniedError("another process");
  };
  EXPECT_THAT(Save(),
              StatusIs(absl::StatusCode::kPermissionDenied, "another process"));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, ReportsThatMigrateIsRefused) {
  knobs_.migrate_error = "Memory region pc.bios is not compatible with CPR";
  EXPECT_THAT(Save(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("pc.bios is not compatible with CPR")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, ReportsWhyTheTransferFailedLongBeforeTheDeadline) {
  knobs_.transfer_error = "State blocked by non-migratable device";
  const absl::Time start = absl::Now();
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("non-migratable device")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, GivesUpIfQemuNeverConnects) {
  knobs_.stall_before_cpr = true;
  EXPECT_THAT(Save(absl::Now() + absl::Milliseconds(600)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("QEMU to connect its cpr channel")));
  EXPECT_THAT(qemu_->commands(), Contains("migrate_cancel"));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, GivesUpIfTheMainChannelNeverComes) {
  knobs_.stall_before_main = true;
  EXPECT_THAT(Save(absl::Now() + absl::Milliseconds(600)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("QEMU to connect its main channel")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, GivesUpIfQemuNeverCompletes) {
  knobs_.complete = false;
  EXPECT_THAT(Save(absl::Now() + absl::Milliseconds(600)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("in state device")));
  ExpectPausedAndIdle();
}

TEST_F(SaveOverCprTest, SaysSoIfQemuCannotBeStopped) {
  knobs_.stall_before_main = true;
  knobs_.ignore_cancel = true;
  EXPECT_THAT(Save(absl::Now() + absl::Milliseconds(600)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("may still be in cpr-transfer")));
}

TEST_F(SaveOverCprTest, RefusesADeviceStateBeyondItsLimit) {
  options_.max_device_state_bytes = 1000;
  knobs_.device_state = std::string(200'000, 's');
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("more than 1000 bytes")));
}

TEST_F(SaveOverCprTest, RefusesAnEmptyDeviceState) {
  knobs_.device_state = "";
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kDataLoss, _));
}

}  // namespace
}  // namespace live_update
