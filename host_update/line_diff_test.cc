#include "host_update/line_diff.h"

#include <string>

#include "gtest/gtest.h"

namespace live_update {
namespace {

TEST(LineDiffTest, NothingDiffers) { EXPECT_EQ(LineDiff("a\nb", "a\nb"), ""); }

TEST(LineDiffTest, ShowsChangesWithTheLinesAround) {
  EXPECT_EQ(LineDiff("1\n2\n3\n4\n5\n6\n7", "1\n2\n3\n4\nfive\n6\n7"),
            "@@\n 3\n 4\n-5\n+five\n 6\n 7\n");
}

TEST(LineDiffTest, KnowsWhatWasOnlyAddedOrRemoved) {
  EXPECT_EQ(LineDiff("a\nb", "a\nx\nb"), " a\n+x\n b\n");
  EXPECT_EQ(LineDiff("a\nx\nb", "a\nb"), " a\n-x\n b\n");
  EXPECT_EQ(LineDiff("", "a"), "-\n+a\n");
}

TEST(LineDiffTest, TellsLongTextsApartAsAWhole) {
  EXPECT_EQ(LineDiff(std::string(5000, '\n'), "a"),
            "-(5001 lines)\n+(1 lines)\n");
}

}  // namespace
}  // namespace live_update
