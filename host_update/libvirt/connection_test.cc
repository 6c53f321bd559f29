#include "host_update/libvirt/connection.h"

#include <libvirt/libvirt.h>

#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::SizeIs;

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

// The domain that test:///default has.
const VmRef kVm = {.name = "test",
                   .uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"};

class ConnectionTest : public ::testing::Test {
 protected:
  std::vector<ConnectHandle> GetMany(int count) {
    std::vector<ConnectHandle> handles;
    for (int i = 0; i < count; ++i) {
      handles.push_back(connection_.Get(Soon()).value());
    }
    return handles;
  }

  static absl::flat_hash_set<virConnect*> Distinct(
      const std::vector<ConnectHandle>& handles) {
    absl::flat_hash_set<virConnect*> distinct;
    for (const ConnectHandle& handle : handles) distinct.insert(handle.get());
    return distinct;
  }

  Connection connection_{"test:///default"};
};

TEST_F(ConnectionTest, OneAfterTheOtherShareOne) {
  virConnect* const first = connection_.Get(Soon()).value().get();
  for (int i = 0; i < 3 * kUsersPerConnection; ++i) {
    EXPECT_EQ(connection_.Get(Soon()).value().get(), first);
  }
}

TEST_F(ConnectionTest, NoneHasMoreUsersThanItMay) {
  const std::vector<ConnectHandle> handles = GetMany(2 * kUsersPerConnection);
  EXPECT_THAT(Distinct(handles), SizeIs(2));
  EXPECT_FALSE(Distinct(handles).contains(GetMany(1).front().get()));
}

TEST_F(ConnectionTest, ACopyIsNoUserOfItsOwn) {
  const ConnectHandle first = connection_.Get(Soon()).value();
  const std::vector<ConnectHandle> copies(2 * kUsersPerConnection, first);
  EXPECT_EQ(connection_.Get(Soon()).value().get(), first.get());
}

TEST_F(ConnectionTest, ADomainIsAUserAsLongAsItIsHeld) {
  std::vector<DomainHandle> domains;
  for (int i = 0; i < kUsersPerConnection; ++i) {
    domains.push_back(connection_.Find(kVm, Soon()).value());
  }
  virConnect* const full = virDomainGetConnect(domains.front().get());
  EXPECT_NE(connection_.Get(Soon()).value().get(), full);
  domains.clear();
  EXPECT_EQ(connection_.Get(Soon()).value().get(), full);
}

TEST_F(ConnectionTest, AResumeIsCountedOnceHoweverManyAreOpen) {
  const std::vector<ConnectHandle> handles = GetMany(3 * kUsersPerConnection);
  const DomainHandle domain = connection_.Find(kVm, Soon()).value();
  ASSERT_EQ(virDomainSuspend(domain.get()), 0);
  ASSERT_EQ(virDomainResume(domain.get()), 0);
  EXPECT_TRUE(
      connection_.resumes().WaitUntilMore(kVm.uuid, 0, absl::Seconds(20)));
  EXPECT_FALSE(connection_.resumes().WaitUntilMore(kVm.uuid, 1,
                                                   absl::Milliseconds(300)));
}

}  // namespace
}  // namespace live_update
