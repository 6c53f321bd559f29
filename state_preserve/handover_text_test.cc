#include "state_preserve/handover_text.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/format.h"
#include "state_preserve/repair_crcs.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class HandoverTextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(image_, WriteHandover(ExampleHost(), ExampleVms()));
  }
  void TearVm() { image_[sizeof(HandoverHeader) + 100] ^= 1; }  // web-1
  HandoverReader Open() {
    absl::StatusOr<HandoverReader> reader = HandoverReader::Open(image_);
    EXPECT_THAT(reader, IsOk());
    return *std::move(reader);
  }
  std::vector<uint8_t> image_;
};

google::protobuf::Struct Parse(const std::string& json) {
  google::protobuf::Struct parsed;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &parsed).ok())
      << json;
  return parsed;
}

TEST_F(HandoverTextTest, ShowsHostAndVms) {
  EXPECT_THAT(
      HandoverToText(Open(), {}),
      AllOf(HasSubstr("version 2, "), HasSubstr("2 VMs"),
            HasSubstr("kernel_release: \"6.1.0-40-amd64\""),
            HasSubstr("  web-1  at 0x40+"), HasSubstr("name: \"pc.ram\""),
            HasSubstr("device state: 1008 bytes, crc32c "),
            HasSubstr("auxiliary RAM pc.bios: 262144 bytes, 4096 stored"),
            HasSubstr("every section is whole")));
}

TEST_F(HandoverTextTest, ShowsNoMemoryAndXmlOnlyOnDemand) {
  for (const std::string& text :
       {HandoverToText(Open(), {}), HandoverToJson(Open(), {})}) {
    EXPECT_THAT(text, AllOf(Not(HasSubstr("BBBB")), Not(HasSubstr("dddd")),
                            Not(HasSubstr("QEVM")), Not(HasSubstr("DSDT")),
                            Not(HasSubstr("<domain"))));
  }
  EXPECT_THAT(HandoverToText(Open(), {.with_domain_xml = true}),
              HasSubstr("<domain"));
}

TEST_F(HandoverTextTest, SaysWhetherTheMacWasChecked) {
  EXPECT_THAT(HandoverToText(Open(), {}), HasSubstr("authentication: none"));
  const HandoverKey key = ExampleKey();
  ASSERT_OK_AND_ASSIGN(
      image_, WriteHandover(ExampleHost(), ExampleVms(), {.key = &key}));
  ASSERT_OK_AND_ASSIGN(const HandoverReader unchecked,
                       HandoverReader::OpenUnverified(image_));
  EXPECT_THAT(HandoverToText(unchecked, {}), HasSubstr("NOT CHECKED"));
  ASSERT_OK_AND_ASSIGN(const HandoverReader checked,
                       HandoverReader::Open(image_, &key));
  EXPECT_THAT(
      HandoverToText(checked, {}),
      HasSubstr(absl::StrCat("key id ", ToHex(key.id()), ", verified")));
  EXPECT_TRUE(Parse(HandoverToJson(checked, {}))
                  .fields()
                  .at("authentication")
                  .struct_value()
                  .fields()
                  .at("verified")
                  .bool_value());
}

TEST_F(HandoverTextTest, ShowsHowMuchRamWasDigestedButNoDigest) {
  ASSERT_OK_AND_ASSIGN(image_,
                       WriteHandover(ExampleHost(), ExampleVmsWithDigests()));
  const HandoverTextOptions options{
      .ram_verdicts = {absl::OkStatus(), absl::DataLossError("it differs")}};
  EXPECT_THAT(
      HandoverToText(Open(), options),
      AllOf(HasSubstr("RAM digests: 3 pages of 4096 bytes"),
            HasSubstr("RAM: is what the digests say"),
            HasSubstr("RAM digests: all of it, 6 chunks of 1073741824 bytes"),
            HasSubstr("RAM: it differs"),
            Not(HasSubstr(absl::StrCat(0x1111111111111111)))));
  const auto json = Parse(HandoverToJson(Open(), options));
  const auto& vms = json.fields().at("vms").list_value().values();
  EXPECT_EQ(vms[0].struct_value().fields().at("ram").string_value(), "ok");
  EXPECT_EQ(vms[1].struct_value().fields().at("ram").string_value(),
            "it differs");
}

TEST_F(HandoverTextTest, ShowsWhyAVmIsRefusedAndTheOthers) {
  TearVm();
  EXPECT_EQ(CountTornVms(Open()), 1);
  EXPECT_THAT(HandoverToText(Open(), {}),
              AllOf(HasSubstr("REFUSED: at offset 0x40: record body has a "
                              "wrong CRC"),
                    HasSubstr("name: \"dimm0\""), HasSubstr("VMs refused: 1")));
}

TEST_F(HandoverTextTest, AHostileNameDoesNothingToATerminalOrJson) {
  std::vector<ExampleVm> vms = ExampleVms();
  vms[0].record.set_name("\x1b[2J");
  ASSERT_OK_AND_ASSIGN(image_, WriteHandover(ExampleHost(), vms));
  EXPECT_THAT(HandoverToText(Open(), {}),
              AllOf(HasSubstr("\\033[2J"), Not(HasSubstr("\x1b"))));
  // A directory can name what no record could.
  const std::string bytes(image_.begin(), image_.end());
  image_[bytes.rfind("\x1b[2J")] = 0xff;
  RepairCrcs(absl::MakeSpan(image_));
  EXPECT_THAT(HandoverToText(Open(), {}), HasSubstr("\\377[2J"));
  EXPECT_EQ(Parse(HandoverToJson(Open(), {})).fields().count("vms"), 1);
}

TEST_F(HandoverTextTest, JsonIsJson) {
  TearVm();
  const google::protobuf::Struct json = Parse(HandoverToJson(Open(), {}));
  EXPECT_EQ(json.fields()
                .at("host")
                .struct_value()
                .fields()
                .at("counter")
                .string_value(),
            "7");
  const auto& vms = json.fields().at("vms").list_value().values();
  ASSERT_EQ(vms.size(), 2);
  EXPECT_THAT(vms[0].struct_value().fields().at("error").string_value(),
              HasSubstr("wrong CRC"));
  EXPECT_EQ(vms[1]
                .struct_value()
                .fields()
                .at("device_state")
                .struct_value()
                .fields()
                .at("bytes")
                .number_value(),
            508);
}

}  // namespace
}  // namespace live_update
