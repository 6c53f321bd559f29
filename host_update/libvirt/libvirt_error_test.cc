#include "host_update/libvirt/libvirt_error.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

absl::StatusCode Code(int number) {
  return CodeOfLibvirtError(number, VIR_FROM_QEMU);
}

TEST(LibvirtErrorTest, ToldApartByWhatTheCallerCanDo) {
  EXPECT_EQ(Code(VIR_ERR_NO_DOMAIN), absl::StatusCode::kNotFound);
  EXPECT_EQ(Code(VIR_ERR_OPERATION_INVALID),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Code(VIR_ERR_OPERATION_TIMEOUT),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Code(VIR_ERR_NO_SUPPORT), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Code(VIR_ERR_NO_CONNECT), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Code(VIR_ERR_AGENT_UNRESPONSIVE), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Code(VIR_ERR_AUTH_FAILED), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Code(VIR_ERR_XML_ERROR), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(VIR_ERR_OPERATION_FAILED), absl::StatusCode::kInternal);
}

TEST(LibvirtErrorTest, TellsAMissingDaemonFromAMissingDisk) {
  EXPECT_EQ(CodeOfLibvirtError(VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(CodeOfLibvirtError(VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE),
            absl::StatusCode::kInternal);
}

TEST(LibvirtErrorTest, HasLibvirtsWords) {
  virSetErrorFunc(nullptr, [](void*, virError*) {});
  virConnect* const connection = virConnectOpen("test:///default");
  ASSERT_NE(connection, nullptr);
  ASSERT_EQ(virDomainLookupByName(connection, "nobody"), nullptr);
  EXPECT_THAT(LastLibvirtError("find nobody"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("find nobody: Domain not found")));
  virConnectClose(connection);
}

TEST(LibvirtErrorTest, NeverSaysThatAllIsWell) {
  virResetLastError();
  EXPECT_THAT(LastLibvirtError("it"), StatusIs(absl::StatusCode::kInternal,
                                               "it: libvirt gave no reason"));
}

}  // namespace
}  // namespace live_update
