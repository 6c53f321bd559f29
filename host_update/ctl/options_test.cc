#include "host_update/ctl/options.h"

#include <stdio.h>

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/cli/exit_code.h"

namespace live_update::ctl {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::variant<Options, int> Parse(std::vector<std::string> words) {
  words.insert(words.begin(), "hostupdatectl");
  std::vector<char*> arguments;
  arguments.reserve(words.size());
  for (std::string& word : words) arguments.push_back(word.data());
  return ParseOptions(static_cast<int>(arguments.size()), arguments.data());
}

Options Parsed(const std::vector<std::string>& words) {
  const auto options = Parse(words);
  EXPECT_TRUE(std::holds_alternative<Options>(options));
  return std::holds_alternative<Options>(options) ? std::get<Options>(options)
                                                  : Options();
}

// What a usage error says; "" if it is none.
std::string UsageError(const std::vector<std::string>& words) {
  ::testing::internal::CaptureStderr();
  const auto options = Parse(words);
  const std::string message = ::testing::internal::GetCapturedStderr();
  return std::holds_alternative<int>(options) &&
                 std::get<int>(options) == static_cast<int>(ExitCode::kUsage)
             ? message
             : "";
}

std::string Script(const std::string& shell) {
  ::testing::internal::CaptureStdout();
  const auto options = Parse({"completion", shell});
  std::string script = ::testing::internal::GetCapturedStdout();
  EXPECT_TRUE(std::holds_alternative<int>(options));
  EXPECT_EQ(std::get<int>(options), 0);
  return script;
}

// What bash offers after `words`, the last of which is being typed.
std::string Completed(const std::string& words) {
  const std::string file = absl::StrCat(::testing::TempDir(), "/completion");
  FILE* script = fopen(file.c_str(), "w");
  fputs(Script("bash").c_str(), script);
  fclose(script);
  const std::string command = absl::StrCat(
      "bash -c 'set -u; . ", file, "; COMP_WORDS=(hostupdatectl ", words,
      "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _hostupdatectl; "
      "echo \" ${COMPREPLY[*]} \"' 2>&1");
  FILE* bash = popen(command.c_str(), "r");
  char output[4096] = {};
  const size_t size = fread(output, 1, sizeof(output) - 1, bash);
  EXPECT_EQ(pclose(bash), 0);
  return std::string(output, size);
}

TEST(OptionsTest, ReadsGoToTheReadSocketAndTheRestToTheOther) {
  for (const char* verb :
       {"status", "watch", "vms", "history", "report", "version"}) {
    EXPECT_EQ(Parsed({verb}).socket, kReadSocket) << verb;
  }
  for (const char* verb : {"check", "abort", "recover", "rollback"}) {
    EXPECT_EQ(Parsed({verb}).socket, kManageSocket) << verb;
  }
  EXPECT_EQ(Parsed({"status", "--socket", "/s"}).socket, "/s");
}

TEST(OptionsTest, GlobalOptionsStandBeforeOrAfterTheCommand) {
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"--json", "--quiet", "--timeout=2.5", "status"},
           {"status", "--json", "--quiet", "--timeout", "2.5"}}) {
    const Options options = Parsed(words);
    EXPECT_TRUE(options.json);
    EXPECT_TRUE(options.quiet);
    EXPECT_EQ(options.timeout, absl::Seconds(2.5));
  }
  EXPECT_FALSE(Parsed({"status"}).timeout.has_value());
}

TEST(OptionsTest, TakesAnUpdateApart) {
  const Options options =
      Parsed({"update", "--kernel=/k", "--initrd=/i", "--append=quiet nosmt",
              "--plan=5b1c9e", "--max-blackout=15", "--reason=CVE",
              "--request-id=r-1", "--yes", "--no-wait", "--override=BLOCK_JOB",
              "--override=TARGET_KVM", "--way=vm1=copy"});
  EXPECT_EQ(options.command, Command::kUpdate);
  EXPECT_EQ(options.kernel, "/k");
  EXPECT_EQ(options.initrd, "/i");
  EXPECT_EQ(options.append, "quiet nosmt");
  EXPECT_EQ(options.plan_hash, "5b1c9e");
  EXPECT_EQ(options.max_blackout_s, 15);
  EXPECT_EQ(options.reason, "CVE");
  EXPECT_EQ(options.request_id, "r-1");
  EXPECT_TRUE(options.yes);
  EXPECT_TRUE(options.no_wait);
  EXPECT_THAT(options.overrides, ElementsAre("BLOCK_JOB", "TARGET_KVM"));
  EXPECT_EQ(options.ways.at("vm1"), "copy");
}

TEST(OptionsTest, TakesIdsAndNames) {
  EXPECT_EQ(Parsed({"watch", "op-1"}).id, "op-1");
  EXPECT_EQ(Parsed({"report", "op-2"}).id, "op-2");
  EXPECT_EQ(Parsed({"recover", "db"}).vm, "db");
  EXPECT_EQ(Parsed({"finish", "db"}).vm, "db");
  EXPECT_EQ(Parsed({"history", "--limit=3"}).limit, 3);
  EXPECT_THAT(Parsed({"restart-vmm", "db", "web", "--yes"}).vms,
              ElementsAre("db", "web"));
  EXPECT_EQ(Parsed({"check", "--rehearse", "db"}).rehearse_vm, "db");
}

TEST(OptionsTest, AnUpdateWithoutKernelOrInitrdIsAUsageErrorThatSaysSo) {
  for (const char* verb : {"update", "plan"}) {
    EXPECT_THAT(UsageError({verb, "--initrd=/i"}), HasSubstr("--kernel"));
    EXPECT_THAT(UsageError({verb, "--kernel=/k"}), HasSubstr("initrd"));
    EXPECT_THAT(UsageError({verb, "--kernel=/k", "--initrd=/i", "--no-initrd"}),
                HasSubstr("initrd"));
  }
  EXPECT_EQ(Parsed({"check"}).kernel, "");
  EXPECT_THAT(UsageError({"check", "--initrd=/i"}), HasSubstr("--kernel"));
  EXPECT_THAT(UsageError({"check", "--append=a"}), HasSubstr("--kernel"));
  EXPECT_THAT(UsageError({"check", "--rehearse=db", "--kernel=/k"}),
              HasSubstr("--kernel"));
}

TEST(OptionsTest, WhatTheApiWouldRefuseIsAUsageError) {
  EXPECT_THAT(UsageError({"check", "--kernel=vmlinuz"}), HasSubstr("absolute"));
  EXPECT_THAT(UsageError({"recover", "--request-id=a_b"}),
              HasSubstr("request-id"));
  EXPECT_THAT(UsageError({"recover", "--request-id", std::string(65, 'a')}),
              HasSubstr("64"));
  EXPECT_THAT(UsageError({"recover", "--reason", std::string(1025, 'a')}),
              HasSubstr("1024"));
  EXPECT_THAT(UsageError({"finish"}), HasSubstr("vm"));
  EXPECT_THAT(UsageError({}), HasSubstr("subcommand"));
  EXPECT_THAT(UsageError({"status", "--timeout=0"}), HasSubstr("timeout"));
}

TEST(OptionsTest, OverridesNothingWithWhichVmsAreLost) {
  EXPECT_THAT(UsageError({"check", "--override=RAM_NOT_SHARED"}),
              AllOf(HasSubstr("RAM_NOT_SHARED"), HasSubstr("HOST_MEMORY")));
}

TEST(CompletionTest, BashOffersCommandsAndTheirOptions) {
  EXPECT_THAT(Completed("re"),
              AllOf(HasSubstr(" report "), HasSubstr(" recover "),
                    Not(HasSubstr(" status "))));
  EXPECT_THAT(Completed("update --"),
              AllOf(HasSubstr(" --plan "), HasSubstr(" --no-initrd "),
                    HasSubstr(" --json ")));
  EXPECT_THAT(Completed("--json check --"),
              AllOf(HasSubstr(" --kernel "), Not(HasSubstr(" --plan "))));
  EXPECT_THAT(Completed("completion \"\""),
              AllOf(HasSubstr(" bash "), HasSubstr(" zsh ")));
}

TEST(CompletionTest, BashOffersFilesWhereOneIsDue) {
  EXPECT_THAT(Completed("update --kernel /et"), HasSubstr(" /etc "));
  EXPECT_THAT(Completed("update --reason /et"), Not(HasSubstr("/etc")));
}

TEST(CompletionTest, ZshOffersTheSameWithTheirHelp) {
  const std::string script = Script("zsh");
  EXPECT_THAT(script, HasSubstr("#compdef hostupdatectl"));
  EXPECT_THAT(script, HasSubstr("'status:Say how this host"));
  EXPECT_THAT(script, HasSubstr("'--no-initrd:It needs none"));
  EXPECT_THAT(script, HasSubstr("kernel'\\''s command line"));
}

}  // namespace
}  // namespace live_update::ctl
