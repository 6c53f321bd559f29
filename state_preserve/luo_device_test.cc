// The rules of the kernel as its fake has them, what its errors become, and
// the real device as far as a machine without one allows.

#include "state_preserve/luo_device.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/luo_fake_kernel.h"
#include "testing/memory_file.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::ContentsOf;
using ::live_update::testing::InodeOf;
using ::live_update::testing::IsOk;
using ::live_update::testing::MakeMemfd;
using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LuoDeviceTest : public ::testing::Test {
 protected:
  std::unique_ptr<LuoSession> Create(const std::string& name) {
    auto device = kernel_.OpenDevice();
    EXPECT_THAT(device, IsOk());
    auto session = (*device)->CreateSession(name);
    EXPECT_THAT(session, IsOk());
    return *std::move(session);
  }
  absl::StatusOr<std::unique_ptr<LuoSession>> Retrieve(
      const std::string& name) {
    LU_ASSIGN_OR_RETURN(const auto device, kernel_.OpenDevice());
    return device->RetrieveSession(name);
  }

  LuoFakeKernel kernel_;
};

TEST_F(LuoDeviceTest, IsOpenOnceAtATime) {
  {
    ASSERT_OK_AND_ASSIGN(const auto device, kernel_.OpenDevice());
    EXPECT_THAT(kernel_.OpenDevice(),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("`fuser -v /dev/liveupdate` names it")));
  }
  EXPECT_THAT(kernel_.OpenDevice(), IsOk());
}

TEST_F(LuoDeviceTest, SaysWhenTheLastKernelsStateCanNotBeRead) {
  kernel_.FailOpen(EIO);
  EXPECT_THAT(kernel_.OpenDevice(), StatusIs(absl::StatusCode::kDataLoss,
                                             HasSubstr("another version")));
}

TEST_F(LuoDeviceTest, ASessionsNameIsTakenWhileItIsOpen) {
  const auto device = kernel_.OpenDevice();
  ASSERT_THAT(device, IsOk());
  auto session = (*device)->CreateSession("a");
  ASSERT_THAT(session, IsOk());
  EXPECT_THAT((*device)->CreateSession("a"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("a")));
  session->reset();
  EXPECT_THAT((*device)->CreateSession("a"), IsOk());
  EXPECT_THAT((*device)->CreateSession(""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("63")));
  EXPECT_THAT((*device)->CreateSession(std::string(64, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("63")));
  EXPECT_THAT((*device)->CreateSession(std::string(63, 'a')), IsOk());
  kernel_.FailNextCreate(ENOSPC);
  EXPECT_THAT((*device)->CreateSession("b"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("b")));
}

TEST_F(LuoDeviceTest, PreservesUnnamedMemoryOnly) {
  const auto session = Create("a");
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_THAT(session->Preserve(null, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("device or socket")));
  std::string path = absl::StrCat(::testing::TempDir(), "/file_XXXXXX");
  const UniqueFd file(mkostemp(path.data(), O_CLOEXEC));
  EXPECT_THAT(session->Preserve(file, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("<source type='memfd'/>")));
  unlink(path.c_str());
  path = "/dev/shm/file_XXXXXX";
  const UniqueFd named(mkostemp(path.data(), O_CLOEXEC));
  if (!named.ok()) GTEST_SKIP() << "/dev/shm is not writable here";
  EXPECT_THAT(
      session->Preserve(named, 1),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("1 name(s)")));
  unlink(path.c_str());
  EXPECT_THAT(session->Preserve(named, 1), IsOk());
}

TEST_F(LuoDeviceTest, HugePagesAreRefusedWithAWayOut) {
  const UniqueFd huge(memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  if (!huge.ok()) GTEST_SKIP() << "no hugetlb here";
  EXPECT_THAT(Create("a")->Preserve(huge, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("<hugepages>")));
}

TEST_F(LuoDeviceTest, PreservesAFileAndATokenOnce) {
  const auto session = Create("a");
  const auto other = Create("b");
  const UniqueFd memory = MakeMemfd("guest");
  ASSERT_THAT(session->Preserve(memory, 1), IsOk());
  EXPECT_THAT(session->Preserve(MakeMemfd("more"), 1),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("1")));
  EXPECT_THAT(other->Preserve(memory, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("preserved already")));
  EXPECT_EQ(kernel_.FileCount(), 1);
}

TEST_F(LuoDeviceTest, WhatIsClosedBeforeTheKexecIsNotCarried) {
  auto kept = Create("kept");
  auto closed = Create("closed");
  ASSERT_THAT(kept->Preserve(MakeMemfd("guest"), 1), IsOk());
  closed.reset();
  EXPECT_THAT(kernel_.Outgoing(), ElementsAre("kept"));
  kernel_.Kexec();
  EXPECT_THAT(kernel_.Incoming(), ElementsAre("kept"));
  EXPECT_THAT(Retrieve("closed"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("closed")));
  kernel_.Kexec();
  EXPECT_THAT(kernel_.Incoming(), IsEmpty());  // Nor is what was incoming.
}

TEST_F(LuoDeviceTest, AFileIsTheSameHoweverOftenItIsRetrieved) {
  const auto outgoing = Create("a");
  const UniqueFd memory = MakeMemfd("guest");
  ASSERT_THAT(outgoing->Preserve(memory, 7), IsOk());
  ASSERT_EQ(pwrite(memory.get(), "later", 5, 0), 5);
  EXPECT_THAT(outgoing->Retrieve(7),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("7")));
  kernel_.Kexec();

  ASSERT_OK_AND_ASSIGN(const auto incoming, Retrieve("a"));
  EXPECT_THAT(Retrieve("a"), StatusIs(absl::StatusCode::kUnavailable,
                                      HasSubstr("retrieved already")));
  EXPECT_THAT(incoming->Preserve(MakeMemfd("x"), 9),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("")));
  ASSERT_OK_AND_ASSIGN(const UniqueFd first, incoming->Retrieve(7));
  ASSERT_OK_AND_ASSIGN(const UniqueFd second, incoming->Retrieve(7));
  EXPECT_EQ(ContentsOf(first), "later");
  EXPECT_EQ(InodeOf(first), InodeOf(second));
  EXPECT_NE(InodeOf(first), InodeOf(memory));
  EXPECT_THAT(incoming->Retrieve(8),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such file")));
  // Not finished: can't be preserved again.
  EXPECT_THAT(Create("b")->Preserve(first, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not finished")));
  ASSERT_THAT(incoming->Finish(), IsOk());
  EXPECT_THAT(incoming->Retrieve(7),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("finished")));
  EXPECT_EQ(ContentsOf(first), "later");
  EXPECT_THAT(Create("b")->Preserve(first, 1), IsOk());
}

TEST_F(LuoDeviceTest, AFailedRetrieveIsForGood) {
  const auto outgoing = Create("a");
  ASSERT_THAT(outgoing->Preserve(MakeMemfd("guest"), 7), IsOk());
  kernel_.Kexec();
  kernel_.FailRetrieve("a", 7, ENOMEM);
  ASSERT_OK_AND_ASSIGN(const auto incoming, Retrieve("a"));
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(
        incoming->Retrieve(7),
        StatusIs(absl::StatusCode::kDataLoss, HasSubstr("does not try again")));
  }
}

TEST_F(LuoDeviceTest, TheLastHoldersEndFinishesAnIncomingSession) {
  const auto outgoing = Create("a");
  ASSERT_THAT(outgoing->Preserve(MakeMemfd("guest"), 7), IsOk());
  kernel_.Kexec();
  ASSERT_OK_AND_ASSIGN(auto incoming, Retrieve("a"));
  auto duplicate = kernel_.AdoptSession(
      UniqueFd(fcntl(incoming->fd().get(), F_DUPFD_CLOEXEC, 0)));
  incoming.reset();
  EXPECT_EQ(kernel_.FileCount(), 1);
  EXPECT_THAT(duplicate->Retrieve(7), IsOk());
  duplicate.reset();
  EXPECT_EQ(kernel_.FileCount(), 0);
  EXPECT_THAT(Retrieve("a"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("finished")));
}

// --- The real one ---

TEST(LinuxLuoTest, SaysWhatAKernelWithoutItNeeds) {
  EXPECT_THAT(
      NewLuoKernel("/none/liveupdate")->OpenDevice(),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("kho=on liveupdate=on")));
}

TEST(LinuxLuoTest, CallsThatFailHandNothingOut) {
  // Takes none of the calls, with ENOTTY.
  const auto kernel = NewLuoKernel("/dev/null");
  ASSERT_OK_AND_ASSIGN(const auto device, kernel->OpenDevice());
  EXPECT_THAT(device->CreateSession("a"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("create session a")));
  EXPECT_THAT(device->CreateSession(std::string(64, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("63")));
  EXPECT_FALSE(device->RetrieveSession("a").ok());
  EXPECT_THAT(device->RetrieveSession(""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  const auto session =
      kernel->AdoptSession(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
  EXPECT_FALSE(session->Preserve(MakeMemfd("x"), 1).ok());
  EXPECT_FALSE(session->Retrieve(1).ok());
  EXPECT_FALSE(session->Finish().ok());
}

}  // namespace
}  // namespace live_update
