// The program that is shipped has no faults, and says so to who asks for one.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kShipped[] = "host_update/cli/host-update";
constexpr char kFaulty[] = "testing/faults/host-update-faulty";

struct Result {
  int exit = -1;
  std::string text;
};

Result RunCommand(const std::string& command) {
  Result result;
  FILE* out = popen((command + " 2>&1").c_str(), "r");
  char part[4096];
  while (size_t got = fread(part, 1, sizeof(part), out)) {
    result.text.append(part, got);
  }
  result.exit = WEXITSTATUS(pclose(out));
  return result;
}

std::string ContentsOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(ReleaseTest, RefusesToStartWithAFaultArmed) {
  for (const char* fault : {"prepare:error", "", "nonsense"}) {
    const Result result = RunCommand(std::string("HOST_UPDATE_FAULT=") + fault +
                                     " " + kShipped + " --help");
    EXPECT_EQ(result.exit, 64) << fault << ": " << result.text;
    EXPECT_THAT(result.text, HasSubstr("HOST_UPDATE_FAULT is set"));
  }
  EXPECT_EQ(RunCommand(std::string(kShipped) + " --help").exit, 0);
}

TEST(ReleaseTest, HasNoFaultInIt) {
  const std::string shipped = ContentsOf(kShipped);
  ASSERT_GT(shipped.size(), 100'000);
  EXPECT_THAT(shipped.find("injected"), std::string::npos);
  EXPECT_THAT(shipped.find("kill-qemu"), std::string::npos);
  // The one that has: so they would have been found.
  const std::string faulty = ContentsOf(kFaulty);
  EXPECT_THAT(faulty.find("injected"), Not(std::string::npos));
  EXPECT_THAT(faulty.find("kill-qemu"), Not(std::string::npos));
}

}  // namespace
