#include "loader/direct_kexec.h"

#include <fcntl.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

auto Refuses(const std::string& why) {
  return StatusIs(absl::StatusCode::kPermissionDenied,
                  AllOf(HasSubstr(why), HasSubstr("leave --direct-jump out")));
}

TEST(CheckDirectAllowedTest, RefusesWhereSignaturesCount) {
  EXPECT_THAT(CheckDirectAllowed({}), IsOk());
  EXPECT_THAT(CheckDirectAllowed({.lockdown = "none"}), IsOk());
  EXPECT_THAT(CheckDirectAllowed({.lockdown = "integrity"}),
              Refuses("locked down (integrity)"));
  EXPECT_THAT(CheckDirectAllowed({.signature_forced = true}),
              Refuses("CONFIG_KEXEC_SIG_FORCE"));
}

TEST(DirectStageErrorTest, MeansWhatTheInterfacePromises) {
  EXPECT_THAT(DirectStageError(EPERM, {.lockdown = "confidentiality"}),
              Refuses("locked down"));
  EXPECT_THAT(
      DirectStageError(EPERM, {.load_disabled = "1"}),
      StatusIs(absl::StatusCode::kPermissionDenied,
               HasSubstr("kexec_load: kernel.kexec_load_disabled is 1")));
  EXPECT_THAT(DirectStageError(EACCES, {}), Refuses("IMA"));
  EXPECT_THAT(DirectStageError(EINVAL, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("leave --direct-jump out")));
  EXPECT_THAT(DirectStageError(ENOMEM, {}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("MemAvailable")));
  EXPECT_THAT(DirectStageError(EBUSY, {}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("again")));
  EXPECT_THAT(
      DirectStageError(ENOSYS, {}),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("CONFIG_KEXEC")));
}

// All of what comes before the system call, on the machine that tests.
TEST(StageByKexecLoadTest, RefusesABrokenKernelBeforeAnythingIsStaged) {
  const std::string path = ::testing::TempDir() + "/broken_vmlinux";
  std::string file = MakeElfKernel("contents");
  file.resize(file.size() - 1);
  std::ofstream(path) << file;
  const UniqueFd kernel(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_THAT(StageByKexecLoad(kernel, UniqueFd(), "console=ttyS0",
                               DirectEntry::kVmlinux, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("segment 0: truncated")));
}

}  // namespace
}  // namespace live_update::loader
