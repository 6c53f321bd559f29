#include "state_preserve/names.h"

#include "gtest/gtest.h"

namespace live_update {
namespace {

TEST(NamesTest, KnowsAUuid) {
  EXPECT_TRUE(IsUuid("c7a5fdbd-edaf-9455-926a-d65c16db1809"));
  EXPECT_FALSE(IsUuid("C7A5FDBD-edaf-9455-926a-d65c16db1809"));
  EXPECT_FALSE(IsUuid("c7a5fdbdeedaf-9455-926a-d65c16db1809"));
  EXPECT_FALSE(IsUuid("c7a5fdbd-edaf-9455-926a-d65c16db180"));
  EXPECT_FALSE(IsUuid("c7a5fdbd-edaf-9455-926a-d65c16db180/"));
  EXPECT_FALSE(IsUuid(""));
}

TEST(NamesTest, KnowsASafeName) {
  EXPECT_TRUE(IsSafeName("2026-11-24T10.00.00Z_a"));
  EXPECT_FALSE(IsSafeName(".."));
  EXPECT_FALSE(IsSafeName("a/b"));
  EXPECT_FALSE(IsSafeName(""));
  EXPECT_FALSE(IsSafeName(std::string(65, 'a')));
}

TEST(NamesTest, EncodesWhatAFileNameCannotHold) {
  EXPECT_EQ(EncodeFileName("pc.ram"), "pc.ram");
  EXPECT_EQ(EncodeFileName("/rom@etc/acpi/tables"),
            "%2From%40etc%2Facpi%2Ftables");
  EXPECT_EQ(EncodeFileName(".."), "%2E.");
  EXPECT_EQ(EncodeFileName("a%2F"), "a%252F");
  EXPECT_EQ(EncodeFileName("\xff"), "%FF");
}

}  // namespace
}  // namespace live_update
