#include "host_update/libvirt/updatable_xml.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/libvirt/domain_xml.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Domain(const std::string& inside, const std::string& ns = "") {
  return absl::StrCat("<domain type='kvm'", ns,
                      "><name>db</name><uuid>u</uuid>", inside,
                      "<devices/></domain>");
}

TEST(UpdatableXmlTest, AddsWhatIsMissingAndNothingTwice) {
  ASSERT_OK_AND_ASSIGN(const std::string once,
                       UpdatableDomainXml(Domain(""), "file"));
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts, ReadDomainXml(once));
  EXPECT_EQ(facts.memory_source, "file");
  EXPECT_TRUE(facts.shared_memory);
  EXPECT_TRUE(facts.aux_ram_share);
  ASSERT_OK_AND_ASSIGN(const std::string twice,
                       UpdatableDomainXml(once, "file"));
  EXPECT_EQ(once, twice);
}

TEST(UpdatableXmlTest, WhatIsAsItHasToBeIsNoChange) {
  const std::string fit = Domain(
      "\n  <memoryBacking>\n    <source type='file'/>\n"
      "    <access mode='shared'/>\n  </memoryBacking>\n  "
      "<qemu:commandline>\n    <qemu:arg value='-machine'/>\n"
      "    <qemu:arg value='aux-ram-share=on'/>\n  </qemu:commandline>\n  ",
      " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'");
  ASSERT_OK_AND_ASSIGN(const std::string before, NormalizedDomainXml(fit));
  ASSERT_OK_AND_ASSIGN(const std::string after,
                       UpdatableDomainXml(fit, "file"));
  EXPECT_EQ(before, after);
}

TEST(UpdatableXmlTest, TheBackendDecidesWhereRamComesFrom) {
  const std::string xml =
      Domain("<memoryBacking><source type='file'/><locked/></memoryBacking>");
  ASSERT_OK_AND_ASSIGN(const std::string memfd,
                       UpdatableDomainXml(xml, "memfd"));
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts, ReadDomainXml(memfd));
  EXPECT_EQ(facts.memory_source, "memfd");
  EXPECT_THAT(memfd, HasSubstr("<locked/>"));
}

TEST(UpdatableXmlTest, SharesEachNumaCell) {
  ASSERT_OK_AND_ASSIGN(
      const std::string xml,
      UpdatableDomainXml(Domain("<cpu><numa><cell id='0' memAccess='private'/>"
                                "<cell id='1'/></numa></cpu>"),
                         "memfd"));
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts, ReadDomainXml(xml));
  EXPECT_TRUE(facts.shared_memory);
}

TEST(UpdatableXmlTest, RefusesHugepages) {
  EXPECT_THAT(
      UpdatableDomainXml(Domain("<memoryBacking><hugepages/></memoryBacking>"),
                         "memfd"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("hugepages")));
}

TEST(UpdatableXmlTest, AnUndoChangesBackWhatWasChangedAndNothingElse) {
  const std::string originals[] = {
      Domain(""),
      Domain("<memoryBacking><source type='memfd'/></memoryBacking>"),
      Domain("<cpu><numa><cell id='0' memAccess='private'/></numa></cpu>"),
      Domain("<qemu:commandline><qemu:arg value='-machine'/>"
             "<qemu:arg value='aux-ram-share=on'/></qemu:commandline>",
             " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"),
      Domain("<qemu:commandline><qemu:arg value='-d'/></qemu:commandline>",
             " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"),
  };
  for (const std::string& original : originals) {
    ASSERT_OK_AND_ASSIGN(std::string xml, UpdatableDomainXml(original, "file"));
    // Meanwhile, by somebody else.
    xml.insert(xml.find("<devices"), "<title>web</title>");
    ASSERT_OK_AND_ASSIGN(const std::string undone,
                         DomainXmlAsBefore(xml, original));
    EXPECT_THAT(undone, HasSubstr("<title>web</title>"));
    ASSERT_OK_AND_ASSIGN(const DomainFacts before, ReadDomainXml(original));
    ASSERT_OK_AND_ASSIGN(const DomainFacts after, ReadDomainXml(undone));
    EXPECT_EQ(after.memory_source, before.memory_source) << undone;
    EXPECT_EQ(after.shared_memory, before.shared_memory) << undone;
    EXPECT_EQ(after.aux_ram_share, before.aux_ram_share) << undone;
    if (before.memory_source.empty()) {
      EXPECT_THAT(undone, Not(HasSubstr("memoryBacking")));
    }
  }
}

TEST(UpdatableXmlTest, RefusesWhatIsNoDomain) {
  EXPECT_THAT(UpdatableDomainXml("<x/>", "file"),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(DomainXmlAsBefore(Domain(""), "<x/>"),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace live_update
