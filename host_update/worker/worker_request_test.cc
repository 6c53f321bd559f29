#include "host_update/worker/worker_request.h"

#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
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

WorkerRequest Update() {
  WorkerRequest request;
  request.mutable_update()->set_update_id("7f3a91");
  request.mutable_update()->mutable_request()->mutable_target()->set_kernel(
      "/boot/vmlinuz");
  return request;
}

TEST(WorkerRequestTest, AnUpdateIsTheCommandThatItStandsFor) {
  WorkerRequest request = Update();
  v1::ExecuteRequest& asked = *request.mutable_update()->mutable_request();
  asked.mutable_target()->set_initrd("/boot/initrd.img");
  asked.add_overrides("BLOCK_JOB");
  (*asked.mutable_ways())["vm1"] = "managedsave";
  asked.set_plan_hash("12ab");
  asked.set_max_blackout_s(15);
  Options base;
  base.request.backend = "luo";
  const absl::StatusOr<Options> options = OptionsOf(request, base);
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->command, Command::kUpdate);
  EXPECT_FALSE(options->dry_run);
  EXPECT_EQ(options->request.kernel_path, "/boot/vmlinuz");
  EXPECT_EQ(options->request.initrd_path, "/boot/initrd.img");
  EXPECT_EQ(options->request.update_id, "7f3a91");
  EXPECT_EQ(options->request.plan_hash, "12ab");
  EXPECT_EQ(options->request.max_blackout_s, 15);
  EXPECT_EQ(options->request.backend, "luo");
  EXPECT_THAT(options->request.overrides, ElementsAre("BLOCK_JOB"));
  EXPECT_EQ(options->request.ways.at("vm1"), "managedsave");
}

TEST(WorkerRequestTest, PrepareIsNoUpdate) {
  WorkerRequest request = Update();
  request.mutable_update()->set_prepare_only(true);
  const absl::StatusOr<Options> options = OptionsOf(request, {});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->command, Command::kPrepare);
  EXPECT_EQ(options->request.kernel_path, "/boot/vmlinuz");
}

TEST(WorkerRequestTest, APlanChangesNothing) {
  WorkerRequest request;
  request.mutable_plan()->mutable_target()->set_kernel("/boot/vmlinuz");
  const absl::StatusOr<Options> options = OptionsOf(request, {});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->command, Command::kUpdate);
  EXPECT_TRUE(options->dry_run);
}

TEST(WorkerRequestTest, RecoverAndFinishNameTheirVm) {
  WorkerRequest request;
  request.mutable_recover()->set_vm("vm2");
  EXPECT_EQ(OptionsOf(request, {})->retry_vm, "vm2");
  EXPECT_FALSE(OptionsOf(request, {})->restore_again);
  request.mutable_recover()->clear_vm();
  EXPECT_TRUE(OptionsOf(request, {})->restore_again);
  request.mutable_finish()->set_vm("vm3");
  EXPECT_EQ(OptionsOf(request, {})->discard_vm, "vm3");
  request.mutable_finish()->clear_vm();
  EXPECT_THAT(OptionsOf(request, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(WorkerRequestTest, RestartVmmNamesItsVms) {
  WorkerRequest request;
  request.mutable_restart_vmm()->set_restart_id("7f3a91");
  auto& asked = *request.mutable_restart_vmm()->mutable_request();
  asked.set_rehearsal(true);
  EXPECT_THAT(OptionsOf(request, {})->restart_vms, IsEmpty());
  asked.add_vms("vm1");
  asked.add_vms("vm2");
  const absl::StatusOr<Options> options = OptionsOf(request, {});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->command, Command::kRestartVmm);
  EXPECT_EQ(options->request.update_id, "7f3a91");
  EXPECT_TRUE(options->rehearsal);
  EXPECT_THAT(options->restart_vms, ElementsAre("vm1", "vm2"));

  for (const std::string& bad :
       {std::string(), std::string("a\nb"), std::string(257, 'v')}) {
    asked.set_vms(1, bad);
    EXPECT_THAT(OptionsOf(request, {}),
                StatusIs(absl::StatusCode::kInvalidArgument, _));
  }
  asked.set_vms(1, "vm2");
  request.mutable_restart_vmm()->set_restart_id("../x");
  EXPECT_THAT(OptionsOf(request, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(WorkerRequestTest, EnableNamesItsVmAndWhatToDo) {
  WorkerRequest request;
  request.mutable_enable()->set_vm("db");
  request.mutable_enable()->set_undo(true);
  const absl::StatusOr<Options> options = OptionsOf(request, {});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->command, Command::kEnable);
  EXPECT_EQ(options->enable_vm, "db");
  EXPECT_TRUE(options->undo);
  EXPECT_FALSE(options->dry_run);
  request.mutable_enable()->clear_vm();
  EXPECT_THAT(OptionsOf(request, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(WorkerRequestTest, RefusesWhatIsNotInOrder) {
  const auto refuses = [](auto change) {
    WorkerRequest request = Update();
    change(*request.mutable_update());
    EXPECT_THAT(OptionsOf(request, {}),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << request.ShortDebugString();
  };
  using Request = WorkerRequest::Update;
  refuses([](Request& r) { r.set_update_id("../../etc/x"); });
  refuses([](Request& r) { r.set_update_id(""); });
  refuses([](Request& r) {
    r.mutable_request()->mutable_target()->set_kernel("vmlinuz");
  });
  refuses([](Request& r) {
    r.mutable_request()->mutable_target()->set_kernel(
        std::string("/boot/a\0b", 9));
  });
  refuses([](Request& r) {
    r.mutable_request()->mutable_target()->set_initrd(std::string(5000, '/'));
  });
  refuses([](Request& r) { r.mutable_request()->add_overrides("DAX_RANGE"); });
  refuses([](Request& r) {
    (*r.mutable_request()->mutable_ways())["vm1"] = "move";
  });
  refuses([](Request& r) {
    (*r.mutable_request()->mutable_ways())["a\nb"] = "copy";
  });
  refuses([](Request& r) {
    for (int i = 0; i < 1025; ++i) {
      (*r.mutable_request()->mutable_ways())[std::to_string(i)] = "copy";
    }
  });
  refuses([](Request& r) {
    for (int i = 0; i < 33; ++i) {
      r.mutable_request()->add_overrides("BLOCK_JOB");
    }
  });
  for (const double blackout :
       {-1.0, 1e9, std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    refuses(
        [&](Request& r) { r.mutable_request()->set_max_blackout_s(blackout); });
  }
  EXPECT_THAT(OptionsOf(WorkerRequest(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(WorkerRequestTest, TheCommandLineIsRootsAlone) {
  WorkerRequest request = Update();
  request.mutable_update()->mutable_request()->mutable_target()->set_append(
      "init=/tmp/x");
  EXPECT_THAT(OptionsOf(request, {}),
              StatusIs(absl::StatusCode::kPermissionDenied, _));
}

TEST(CheckOwnedByRootTest, TakesWhatIsRootsAndNothingElse) {
  EXPECT_THAT(CheckOwnedByRoot("/usr/bin/env"), IsOk());
  // Below a directory that anybody can write to.
  const std::string path = absl::StrCat("/tmp/check_owned_by_root.", getpid());
  ASSERT_THAT(WriteFileAtomically(path, "kernel", 0644), IsOk());
  EXPECT_THAT(CheckOwnedByRoot(path),
              StatusIs(absl::StatusCode::kPermissionDenied, _));
  unlink(path.c_str());
  EXPECT_THAT(CheckOwnedByRoot("/usr/bin"),
              StatusIs(absl::StatusCode::kPermissionDenied, _));
  EXPECT_THAT(CheckOwnedByRoot("/boot/no-such-kernel"),
              StatusIs(absl::StatusCode::kNotFound, _));
}

}  // namespace
}  // namespace live_update
