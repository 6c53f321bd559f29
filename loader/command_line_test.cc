#include "loader/command_line.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update::loader {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A target command line that must come out well.
std::string Target(absl::string_view running, absl::string_view append) {
  const auto line = TargetCommandLine(running, append);
  EXPECT_THAT(line, IsOk());
  return line.value_or("");
}

TEST(SplitCommandLineTest, ReadsQuotesAsTheKernelDoes) {
  ASSERT_OK_AND_ASSIGN(
      const CommandLine line,
      SplitCommandLine("ro a=\"b c\" \"d=e f\" g=h=i =j -- k=l --\n"));
  ASSERT_THAT(line.kernel, SizeIs(5));
  EXPECT_FALSE(line.kernel[0].has_value);
  EXPECT_EQ(line.kernel[1].value, "b c");
  EXPECT_EQ(line.kernel[2].name, "d");
  EXPECT_EQ(line.kernel[2].value, "e f");
  EXPECT_EQ(line.kernel[3].value, "h=i");
  EXPECT_EQ(line.kernel[4].name, "=j");
  ASSERT_THAT(line.init, SizeIs(2));
  EXPECT_EQ(line.init[1].name, "--");
}

TEST(SplitCommandLineTest, RefusesAnOpenQuote) {
  EXPECT_THAT(SplitCommandLine("ro a=\"b c"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not closed in the command line: a=\"b c")));
}

TEST(SplitCommandLineTest, RefusesControlCharacters) {
  EXPECT_THAT(
      SplitCommandLine(absl::string_view("ro\0rw", 5)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("position 2")));
}

TEST(SplitCommandLineTest, TakesNoMoreThanTheKernelDoes) {
  EXPECT_THAT(SplitCommandLine(std::string(2047, 'a')), IsOk());
  EXPECT_THAT(
      SplitCommandLine(std::string(2048, 'a')),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("takes 2047")));
}

TEST(TargetCommandLineTest, LeavesOutWhatConcernedTheLastBoot) {
  EXPECT_EQ(Target("BOOT_IMAGE=/boot/vmlinuz-6.1 root=/dev/vda1 "
                   "initrd=\\initrd.img ro memmap=1G!1G\n",
                   "quiet"),
            "root=/dev/vda1 ro memmap=1G!1G quiet");
}

TEST(TargetCommandLineTest, DoesNotGrowWithEachUpdate) {
  const std::string running =
      "root=/dev/vda1 console=tty0 console=ttyS0 memmap=1G!1G";
  const std::string append = "console=ttyS0 x.unit=y quiet \"a=b c\"";
  const std::string once = Target(running, append);
  EXPECT_EQ(Target(once, append), once);
  EXPECT_EQ(once,
            "root=/dev/vda1 console=tty0 console=ttyS0 memmap=1G!1G x.unit=y "
            "quiet \"a=b c\"");
}

TEST(TargetCommandLineTest, LetsTheAppendedWordWin) {
  EXPECT_EQ(Target("loglevel=3 loglevel=7", "loglevel=3"),
            "loglevel=7 loglevel=3");
}

TEST(TargetCommandLineTest, LetsTheAppendedConsoleBeTheLast) {
  const std::string once =
      Target("console=ttyS0 console=tty0", "console=ttyS0");
  EXPECT_EQ(once, "console=ttyS0 console=tty0 console=ttyS0");
  EXPECT_EQ(Target(once, "console=ttyS0"), once);
}

TEST(TargetCommandLineTest, DoesNotRepeatSeveralConsoles) {
  const std::string append = "quiet console=tty0 x=y console=ttyS0";
  const std::string once = Target("ro console=ttyS0", append);
  EXPECT_EQ(once, "ro console=ttyS0 console=tty0 console=ttyS0 quiet x=y");
  EXPECT_EQ(Target(once, append), once);
}

TEST(TargetCommandLineTest, KeepsNumberAndOrderOfMemmap) {
  EXPECT_EQ(Target("memmap=1G!1G ro memmap=1G!4G memmap=1G!1G", "memmap=1G!4G"),
            "memmap=1G!1G ro memmap=1G!4G memmap=1G!1G");
}

TEST(TargetCommandLineTest, AppendsBeforeWhatIsForInit) {
  EXPECT_EQ(Target("ro -- single", "quiet -- verbose single"),
            "ro quiet -- single verbose");
}

TEST(TargetCommandLineTest, RefusesWhatIsTooLong) {
  const std::string running(1500, 'a');
  EXPECT_EQ(Target(running, std::string(546, 'b')).size(), 2047u);
  EXPECT_THAT(TargetCommandLine(running, std::string(547, 'b')),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("2048 characters; the kernel takes 2047")));
}

TEST(TargetCommandLineTest, SaysWhichLineIsMalformed) {
  EXPECT_THAT(
      TargetCommandLine("ro \"", ""),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("running")));
  EXPECT_THAT(
      TargetCommandLine("ro", "a\nb\x01"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("appended")));
}

TEST(CheckKeepsMemoryTest, TakesTheSameWordsInTheSameOrder) {
  EXPECT_THAT(CheckKeepsMemory("ro memmap=1G!1G mem=8G quiet",
                               "memmap=1G!1G mem=8G loud"),
              IsOk());
  EXPECT_THAT(CheckKeepsMemory("ro", "quiet"), IsOk());
}

TEST(CheckKeepsMemoryTest, RefusesALostReservation) {
  EXPECT_THAT(
      CheckKeepsMemory("ro memmap=1G!1G", "ro"),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("running kernel: memmap=1G!1G; target: nothing")));
}

TEST(CheckKeepsMemoryTest, RefusesEveryOtherShape) {
  const std::string running = "ro memmap=1G!1G memmap=1G!4G";
  for (const char* target : {"memmap=1G!1G", "memmap=1G!4G memmap=1G!1G",
                             "memmap=1G!1G memmap=1G!5G", "memmap=1G!1G,1G!4G",
                             "memmap=1G!1G memmap=1G!4G mem=4G",
                             "memmap=exactmap memmap=1G!1G memmap=1G!4G",
                             "memmap=1G!1G memmap=1G!4G memmap=1G!8G"}) {
    EXPECT_THAT(CheckKeepsMemory(running, target),
                StatusIs(absl::StatusCode::kFailedPrecondition, _))
        << target;
  }
}

TEST(TargetCommandLineTest, FirstBootsWordsAreNotInheritedByTheNextUpdate) {
  const std::string words = "systemd.unit=a.target quiet";
  ASSERT_OK_AND_ASSIGN(
      const std::string first,
      TargetCommandLine("quiet memmap=1G!1G ro -- x", "nosmt", words));
  EXPECT_EQ(first,
            "quiet memmap=1G!1G ro nosmt host_update.jump "
            "systemd.unit=a.target quiet -- x");
  EXPECT_THAT(CheckKeepsMemory("memmap=1G!1G", first), IsOk());
  EXPECT_EQ(TargetCommandLine(first, "", words).value_or(""), first);
  EXPECT_EQ(TargetCommandLine(first, "").value_or(""),
            "quiet memmap=1G!1G ro nosmt -- x");
}

TEST(TargetCommandLineTest, RefusesFirstBootWordsThatEveryBootNeeds) {
  for (const char* words :
       {"memmap=1G!1G", "mem=2G", "console=ttyS0", "quiet -- x", "a=\"b"}) {
    EXPECT_THAT(TargetCommandLine("ro", "", words),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("words for the first boot alone")))
        << words;
  }
}

TEST(CheckKeepsMemoryTest, SaysThatInitGetsIt) {
  EXPECT_THAT(CheckKeepsMemory("memmap=1G!1G", "ro -- memmap=1G!1G"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("target: nothing"),
                             HasSubstr("memmap=1G!1G stands after \"--\""))));
}

TEST(CheckTakesOverTest, NeedsBothWords) {
  EXPECT_THAT(CheckTakesOver("ro kho=on liveupdate=on", false), IsOk());
  EXPECT_THAT(CheckTakesOver("ro", false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("it has no kho=on liveupdate=on")));
  EXPECT_THAT(CheckTakesOver("kho=on", false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("it has no liveupdate=on")));
  EXPECT_THAT(CheckTakesOver("liveupdate=on", false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("it has no kho=on")));
}

TEST(CheckTakesOverTest, KnowsAKernelThatNeedsNoKho) {
  EXPECT_THAT(CheckTakesOver("liveupdate=on", true), IsOk());
  EXPECT_FALSE(CheckTakesOver("kho=off liveupdate=on", true).ok());
}

TEST(CheckTakesOverTest, ReadsTruthAsTheKernelDoes) {
  EXPECT_THAT(CheckTakesOver("kho=1 liveupdate=y", false), IsOk());
  EXPECT_FALSE(CheckTakesOver("kho liveupdate", false).ok());
  EXPECT_FALSE(CheckTakesOver("kho=on kho=0 liveupdate=on", false).ok());
  EXPECT_THAT(CheckTakesOver("kho=off kho=on liveupdate=on", false), IsOk());
  EXPECT_FALSE(CheckTakesOver("kho=o liveupdate=on", false).ok());
}

TEST(CheckTakesOverTest, SaysThatAWordStandsTooFarBack) {
  EXPECT_THAT(CheckTakesOver("kho=on -- liveupdate=on", false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("liveupdate=on stands after \"--\"")));
}

TEST(CrashKernelWordsTest, FindsThem) {
  ASSERT_OK_AND_ASSIGN(
      const std::vector<std::string> words,
      CrashKernelWords("ro", "ro reset_devices nr_cpus=1 elfcorehdr=0x1000"));
  EXPECT_THAT(words,
              ElementsAre("reset_devices", "nr_cpus=1", "elfcorehdr=0x1000"));
}

TEST(CrashKernelWordsTest, LeavesWhatAnOrdinaryHostHas) {
  ASSERT_OK_AND_ASSIGN(
      const std::vector<std::string> words,
      CrashKernelWords("nr_cpus=1",
                       "crashkernel=256M nr_cpus=1 maxcpus=16 -- "
                       "reset_devices"));
  EXPECT_THAT(words, IsEmpty());
}

}  // namespace
}  // namespace live_update::loader
