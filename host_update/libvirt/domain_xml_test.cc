// testdata/ holds what libvirt 11.3 with QEMU 10.0 prints for
// `virsh dumpxml --migratable --security-info` (unsupported.xml: of a domain
// that is off, with <launchSecurity> added by hand).
#include "host_update/libvirt/domain_xml.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr char kDirectory[] = "/run/host-update/vm";
constexpr char kSocket[] = "/run/host-update/vm/u/qemu/cpr";

std::string Sample(const std::string& name) {
  return ReadFile(absl::StrCat("host_update/libvirt/testdata/", name),
                  kMaxXmlBytes)
      .value();
}

std::string ForRestore(const std::string& xml) {
  return DomainXmlForRestore(xml, kSocket, kDirectory).value();
}

TEST(ReadDomainXmlTest, ReadsAVmThatCanBeCarried) {
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts,
                       ReadDomainXml(Sample("web.xml")));
  EXPECT_EQ(facts.name, "web-1");
  EXPECT_EQ(facts.uuid, "3f1c8a52-7f0e-4c55-9c6b-2f0d5a9be001");
  EXPECT_EQ(facts.machine_type, "pc-q35-10.0");
  EXPECT_EQ(facts.type, "qemu");
  EXPECT_EQ(facts.arch, "x86_64");
  EXPECT_EQ(facts.emulator, "/usr/bin/qemu-system-x86_64");
  EXPECT_EQ(facts.memory_source, "file");
  EXPECT_EQ(facts.memory_bytes, uint64_t{64} << 20);
  EXPECT_THAT(facts.ram_blocks, ElementsAre("pc.ram"));
  EXPECT_TRUE(facts.shared_memory);
  EXPECT_TRUE(facts.aux_ram_share);
  EXPECT_FALSE(facts.hugepages);
  EXPECT_THAT(facts.unsupported, IsEmpty());
  EXPECT_THAT(facts.host_interfaces, IsEmpty());
}

// As `virsh metadata --set` leaves it, beside somebody else's.
TEST(ReadDomainXmlTest, ReadsThePolicyInItsMetadata) {
  ASSERT_OK_AND_ASSIGN(
      const DomainFacts facts,
      ReadDomainXml(
          "<domain><metadata><policy way='none'/>"
          "<o:policy xmlns:o='urn:other' way='other'/>"
          "<host-update:policy "
          "xmlns:host-update='urn:host-update:policy:1' "
          "way='managedsave' priority='&lt;5'/></metadata></domain>"));
  EXPECT_THAT(facts.policy,
              ElementsAre(Pair("way", "managedsave"), Pair("priority", "<5")));
  ASSERT_OK_AND_ASSIGN(const DomainFacts without,
                       ReadDomainXml(Sample("web.xml")));
  EXPECT_THAT(without.policy, IsEmpty());
}

TEST(ReadDomainXmlTest, ReadsNoMoreAttributesThanAPolicyCanHave) {
  std::string attributes;
  for (int i = 0; i < 40; ++i) absl::StrAppend(&attributes, " a", i, "=''");
  ASSERT_OK_AND_ASSIGN(
      const DomainFacts facts,
      ReadDomainXml(absl::StrCat(
          "<domain><metadata><policy xmlns='urn:host-update:policy:1'",
          attributes, "/></metadata></domain>")));
  EXPECT_THAT(facts.policy, SizeIs(16));
}

TEST(ReadDomainXmlTest, ReadsNumaCells) {
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts,
                       ReadDomainXml(Sample("numa.xml")));
  EXPECT_TRUE(facts.shared_memory);
  EXPECT_THAT(facts.ram_blocks, ElementsAre("ram-node0", "ram-node1"));
  EXPECT_EQ(facts.memory_bytes, uint64_t{192} << 20);
  EXPECT_FALSE(facts.aux_ram_share);
  EXPECT_THAT(facts.unsupported, IsEmpty());
}

TEST(ReadDomainXmlTest, SeesACellThatIsNotShared) {
  ASSERT_OK_AND_ASSIGN(
      const DomainFacts facts,
      ReadDomainXml(absl::StrReplaceAll(
          Sample("numa.xml"), {{"memory='32768' unit='KiB' memAccess='shared'",
                                "memory='32768' unit='KiB'"}})));
  EXPECT_FALSE(facts.shared_memory);
}

TEST(ReadDomainXmlTest, NamesWhatDoesNotSurvive) {
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts,
                       ReadDomainXml(Sample("unsupported.xml")));
  EXPECT_THAT(facts.unsupported,
              ElementsAre("launchSecurity sev", "memoryBacking hugepages",
                          "disk vhostuser vda", "disk vdb transient",
                          "filesystem virtiofs srv", "filesystem 9p old",
                          "interface vhostuser 52:54:00:00:00:04",
                          "interface hostdev 52:54:00:00:00:05",
                          "interface vdpa 52:54:00:00:00:06",
                          "interface user passt 52:54:00:00:00:07",
                          "tpm passthrough", "hostdev pci 0000:3b:00.0",
                          "hostdev mdev c2177883-f1bb-47f0-914d-32a22e3a8804",
                          "hostdev usb", "shmem frames"));
  EXPECT_TRUE(facts.hugepages);
  EXPECT_FALSE(facts.aux_ram_share);
}

TEST(ReadDomainXmlTest, NamesWhatSpecialHardwareOrHostProcessesHold) {
  const std::pair<const char*, const char*> kinds[] = {
      {"<launchSecurity type='sev-snp'/>", "launchSecurity sev-snp"},
      {"<launchSecurity type='tdx'/>", "launchSecurity tdx"},
      {"<devices><disk type='vhostvdpa'><target dev='vda'/></disk></devices>",
       "disk vhostvdpa vda"},
      {"<devices><memory model='nvdimm'/></devices>", "memory nvdimm"},
      {"<devices><memory model='virtio-mem'/></devices>", "memory virtio-mem"},
      {"<devices><memory model='sgx-epc'/></devices>", "memory sgx-epc"},
      {"<devices><lease><key>lock</key></lease></devices>", "lease lock"},
      {"<devices><crypto model='virtio'/></devices>", "crypto virtio"},
      {"<devices><hostdev mode='subsystem' type='scsi'/></devices>",
       "hostdev scsi"},
  };
  for (const auto& [xml, name] : kinds) {
    ASSERT_OK_AND_ASSIGN(
        const DomainFacts facts,
        ReadDomainXml(absl::StrCat("<domain>", xml, "</domain>")));
    EXPECT_THAT(facts.unsupported, ElementsAre(name)) << xml;
  }
}

TEST(ReadDomainXmlTest, CarriesDevicesWhoseStateQemuKeeps) {
  ASSERT_OK_AND_ASSIGN(
      const DomainFacts facts,
      ReadDomainXml("<domain><devices><memory model='dimm'/>"
                    "<tpm><backend type='emulator'/></tpm>"
                    "<interface type='user'/><watchdog model='i6300esb'/>"
                    "<rng model='virtio'/><input type='tablet' bus='usb'/>"
                    "<disk type='file'><target dev='vda'/></disk>"
                    "</devices></domain>"));
  EXPECT_THAT(facts.unsupported, IsEmpty());
}

TEST(ReadDomainXmlTest, NamesEachHostInterfaceOnce) {
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts,
                       ReadDomainXml(Sample("unsupported.xml")));
  EXPECT_THAT(facts.host_interfaces, ElementsAre("br0", "eth1"));
}

TEST(ReadDomainXmlTest, RefusesWhatIsNoDomain) {
  for (const char* text :
       {"", "x", "<domain>", "<network/>", "<a><domain/></a>",
        "<domain xmlns='http://x'/><b/>"}) {
    EXPECT_THAT(
        ReadDomainXml(text),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("domain XML: ")))
        << text;
  }
}

TEST(ReadDomainXmlTest, SaysWhereItIsBroken) {
  EXPECT_THAT(
      ReadDomainXml("<domain>\n<name>x</domain>"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2: ")));
}

TEST(ReadDomainXmlTest, RefusesAPrefixThatIsNotDeclared) {
  EXPECT_THAT(ReadDomainXml("<domain><qemu:commandline/></domain>"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("Namespace prefix qemu")));
}

TEST(ReadDomainXmlTest, RefusesADtd) {
  EXPECT_THAT(
      ReadDomainXml("<!DOCTYPE domain [<!ENTITY x SYSTEM '/etc/passwd'>]>"
                    "<domain><name>&x;</name></domain>"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("DTD")));
}

TEST(ReadDomainXmlTest, RefusesEndlessNesting) {
  std::string xml = "<domain>";
  for (int i = 0; i < 100'000; ++i) xml += "<a>";
  EXPECT_THAT(ReadDomainXml(xml),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(ReadDomainXmlTest, RefusesMoreThanItsLimit) {
  EXPECT_THAT(
      ReadDomainXml(absl::StrCat("<domain>", std::string(kMaxXmlBytes, ' '),
                                 "</domain>")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than")));
}

TEST(DomainXmlForRestoreTest, TakesRamFromMemfdWhateverItWas) {
  const std::string xml = ForRestore(Sample("web.xml"));
  EXPECT_THAT(xml, HasSubstr("<source type=\"memfd\"/>"));
  EXPECT_THAT(xml, HasSubstr("<access mode=\"shared\"/>"));
  // Its pages would all be touched in the blackout.
  EXPECT_THAT(xml, Not(HasSubstr("<allocation")));
  EXPECT_THAT(xml, HasSubstr("<qemu:arg value=\"-incoming\"/><qemu:arg value=\""
                             "{&quot;addr&quot;:{&quot;path&quot;:&quot;"
                             "/run/host-update/vm/u/qemu/cpr&quot;,"
                             "&quot;transport&quot;:&quot;socket&quot;,"
                             "&quot;type&quot;:&quot;unix&quot;},"
                             "&quot;channel-type&quot;:&quot;cpr&quot;}\"/>"));
  EXPECT_THAT(xml, HasSubstr("aux-ram-share=on"));
  EXPECT_THAT(xml, HasSubstr("passwd=\"secret\""));
  EXPECT_THAT(xml, HasSubstr("team &amp; co"));
}

TEST(DomainXmlForRestoreTest, LeavesTheAccessOfNumaCellsAlone) {
  const std::string xml = ForRestore(Sample("numa.xml"));
  EXPECT_THAT(xml, HasSubstr("memAccess=\"shared\""));
  EXPECT_THAT(xml, Not(HasSubstr("<access mode")));
  // It had no <qemu:commandline>, nor the namespace.
  ASSERT_OK_AND_ASSIGN(const std::string without,
                       DomainXmlWithoutAdditions(xml, kDirectory));
  EXPECT_THAT(without, Not(HasSubstr("commandline")));
}

TEST(DomainXmlForRestoreTest, AddsWhatIsMissing) {
  const std::string xml = ForRestore("<domain><name>x</name></domain>");
  EXPECT_THAT(xml, HasSubstr("<memoryBacking>"));
  ASSERT_OK_AND_ASSIGN(const DomainFacts facts, ReadDomainXml(xml));
  EXPECT_EQ(facts.memory_source, "memfd");
  EXPECT_TRUE(facts.shared_memory);
}

TEST(DomainXmlForRestoreTest, FindsAPrefixIfQemusIsTaken) {
  const std::string xml = ForRestore(Sample("foreign_qemu_prefix.xml"));
  EXPECT_THAT(xml, HasSubstr("xmlns:host-update-qemu=\"http://libvirt.org/"
                             "schemas/domain/qemu/1.0\""));
  EXPECT_THAT(xml, HasSubstr("<host-update-qemu:arg value=\"-incoming\"/>"));
  EXPECT_EQ(ForRestore(xml), xml);
}

TEST(DomainXmlForRestoreTest, GivesTheSameWhenAppliedToItsResult) {
  for (const char* name : {"web.xml", "numa.xml"}) {
    const std::string once = ForRestore(Sample(name));
    EXPECT_EQ(ForRestore(once), once) << name;
  }
}

TEST(DomainXmlForRestoreTest, ReplacesAnEarlierSocket) {
  const std::string earlier =
      DomainXmlForRestore(Sample("web.xml"), "/run/host-update/vm/old/cpr",
                          kDirectory)
          .value();
  const std::string xml = ForRestore(earlier);
  EXPECT_THAT(xml, Not(HasSubstr("/old/")));
  EXPECT_EQ(xml, ForRestore(Sample("web.xml")));
}

TEST(DomainXmlWithLiveCpuTest, SaysWhatTheGuestSees) {
  constexpr char kLive[] =
      "<domain><cpu mode='custom' match='exact' check='full'>"
      "<model fallback='forbid'>EPYC</model>"
      "<feature policy='require' name='pku'/>"
      "<numa><cell id='0' cpus='0' memory='1024'/></numa>"
      "</cpu><description>live</description></domain>";
  ASSERT_OK_AND_ASSIGN(
      const std::string xml,
      DomainXmlWithLiveCpu("<domain><name>x</name><cpu mode='host-model'>"
                           "<feature policy='disable' name='la57'/></cpu>"
                           "<vcpu>1</vcpu></domain>",
                           kLive));
  EXPECT_THAT(xml, HasSubstr("<feature policy=\"require\" name=\"pku\"/>"));
  EXPECT_THAT(xml, HasSubstr("<cell id=\"0\""));
  EXPECT_THAT(xml, HasSubstr("<vcpu>1</vcpu>"));
  EXPECT_THAT(xml, Not(HasSubstr("host-model")));
  EXPECT_THAT(xml, Not(HasSubstr("la57")));
  EXPECT_THAT(xml, Not(HasSubstr("live")));
  ASSERT_OK_AND_ASSIGN(const std::string added,
                       DomainXmlWithLiveCpu("<domain/>", kLive));
  EXPECT_THAT(added, HasSubstr("pku"));
}

TEST(DomainXmlWithLiveCpuTest, LeavesItWhereNothingBetterIsKnown) {
  ASSERT_OK_AND_ASSIGN(
      const std::string xml,
      DomainXmlWithLiveCpu("<domain><cpu mode='host-passthrough'/></domain>",
                           "<domain/>"));
  EXPECT_THAT(xml, HasSubstr("host-passthrough"));
  EXPECT_FALSE(DomainXmlWithLiveCpu("<domain/>", "<domain>").ok());
}

TEST(DomainXmlWithoutAdditionsTest, TakesOnlyOursOut) {
  const std::string xml = Sample("web.xml");
  const std::string plain = DomainXmlWithoutAdditions(xml, kDirectory).value();
  ASSERT_OK_AND_ASSIGN(
      const std::string without,
      DomainXmlWithoutAdditions(
          absl::StrReplaceAll(
              plain, {{"<qemu:arg value=\"-machine\"/>",
                       "<qemu:arg value=\"-incoming\"/>"
                       "<qemu:arg "
                       "value=\"{&quot;path&quot;:&quot;/elsewhere&quot;}\"/>"
                       "<qemu:arg value=\"-incoming\"/>"
                       "<qemu:arg value=\"{&quot;path&quot;:&quot;"
                       "/run/host-update/vm/u/cpr&quot;}\"/>"
                       "<qemu:arg value=\"-machine\"/>"}}),
          kDirectory));
  EXPECT_THAT(without, HasSubstr("/elsewhere"));
  EXPECT_THAT(without, Not(HasSubstr("/run/host-update")));
  EXPECT_THAT(without, HasSubstr("aux-ram-share=on"));
}

TEST(DomainXmlWithoutAdditionsTest, ChangesNothingElse) {
  const std::string once =
      DomainXmlWithoutAdditions(Sample("web.xml"), kDirectory).value();
  EXPECT_EQ(DomainXmlWithoutAdditions(once, kDirectory).value(), once);
  // But for quotes, and the order of attributes in the first line.
  const auto rest = [](const std::string& xml) {
    const std::string text = absl::StrReplaceAll(xml, {{"\"", "'"}});
    return std::string(
        absl::StripTrailingAsciiWhitespace(text.substr(text.find('\n'))));
  };
  EXPECT_EQ(rest(once), rest(Sample("web.xml")));
}

TEST(DomainXmlTest, KnowsWhetherAGuestAgentIsThere) {
  constexpr char kXml[] =
      "<domain><devices><channel type='spicevmc'>"
      "<target type='virtio' name='com.redhat.spice.0' state='connected'/>"
      "</channel><channel type='unix'><target type='virtio' "
      "name='org.qemu.guest_agent.0'%s/></channel></devices></domain>";
  const auto state = [&kXml](absl::string_view attribute) {
    return GuestAgentState(absl::StrReplaceAll(kXml, {{"%s", attribute}}));
  };
  EXPECT_EQ(*state(" state='connected'"), "connected");
  EXPECT_EQ(*state(" state='disconnected'"), "disconnected");
  EXPECT_EQ(*state(""), "");
  EXPECT_THAT(GuestAgentState("<domain><devices/></domain>").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no channel")));
  EXPECT_THAT(GuestAgentState("<domain/>").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no channel")));
}

}  // namespace
}  // namespace live_update
