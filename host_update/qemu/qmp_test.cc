#include "host_update/qemu/qmp.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/qemu/fake_qemu.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

TEST(QmpTest, NamesBothChannelsOfAMigrate) {
  EXPECT_EQ(
      MigrateCommand("/run/m", "/run/c"),
      R"({"arguments":{"channels":[{"addr":{"path":"/run/m","transport":"socket","type":"unix"},"channel-type":"main"},{"addr":{"path":"/run/c","transport":"socket","type":"unix"},"channel-type":"cpr"}]},"execute":"migrate"})");
}

TEST(QmpTest, NamesTheIncomingChannel) {
  EXPECT_EQ(
      IncomingCprChannel("/run/c"),
      R"({"addr":{"path":"/run/c","transport":"socket","type":"unix"},"channel-type":"cpr"})");
}

TEST(QmpTest, EscapesPaths) {
  EXPECT_THAT(IncomingCprChannel("/run/\"c"), HasSubstr(R"(/run/\"c)"));
}

TEST(QmpTest, SetsTheMode) {
  EXPECT_EQ(
      SetMigrationModeCommand(MigrationMode::kCprTransfer),
      R"({"arguments":{"mode":"cpr-transfer"},"execute":"migrate-set-parameters"})");
  EXPECT_EQ(
      SetMigrationModeCommand(MigrationMode::kNormal),
      R"({"arguments":{"mode":"normal"},"execute":"migrate-set-parameters"})");
}

TEST(QmpTest, PassesQemusWordsOn) {
  EXPECT_THAT(
      ParseQmpReply(
          R"({"error":{"class":"GenericError","desc":"no 'x'"},"id":"1"})"),
      StatusIs(absl::StatusCode::kFailedPrecondition, "QEMU: no 'x'"));
  EXPECT_THAT(
      ParseQmpReply(R"({"error":{"class":"CommandNotFound","desc":"y"}})"),
      StatusIs(absl::StatusCode::kUnimplemented, _));
  EXPECT_THAT(
      ParseQmpReply(R"({"error":{"class":"DeviceNotFound","desc":"z"}})"),
      StatusIs(absl::StatusCode::kNotFound, _));
}

TEST(QmpTest, RefusesWhatIsNoReply) {
  for (const char* reply : {"", "{", "[]", "{}", "null", R"({"error":1})",
                            R"({"error":{"class":1,"desc":"x"}})"}) {
    EXPECT_THAT(ParseQmpReply(reply), StatusIs(absl::StatusCode::kInternal, _))
        << reply;
  }
}

TEST(QmpTest, RefusesAReplyThatIsTooLarge) {
  EXPECT_THAT(
      ParseQmpReply(absl::StrCat(R"({"return":")",
                                 std::string(kMaxQmpReplyBytes, 'x'), "\"}")),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("more than 1048576")));
}

TEST(QmpTest, RefusesAReplyThatIsTooDeep) {
  EXPECT_THAT(
      ParseQmpReply(absl::StrCat(R"({"return":)", std::string(100'000, '['))),
      StatusIs(absl::StatusCode::kInternal, _));
}

TEST(QmpTest, ReadsTheStateOfAMigration) {
  ASSERT_OK_AND_ASSIGN(const MigrationInfo fresh,
                       ParseMigrationInfo(R"({"return":{}})"));
  EXPECT_EQ(fresh.status, "none");
  EXPECT_FALSE(fresh.under_way());

  ASSERT_OK_AND_ASSIGN(
      const MigrationInfo failed,
      ParseMigrationInfo(
          R"({"return":{"status":"failed","error-desc":"disk on fire"}})"));
  EXPECT_TRUE(failed.failed());
  EXPECT_EQ(failed.error, "disk on fire");

  ASSERT_OK_AND_ASSIGN(
      const MigrationInfo active,
      ParseMigrationInfo(R"({"return":{"status":"device","ram":{}}})"));
  EXPECT_TRUE(active.under_way());
}

TEST(QmpTest, ReadsBlockedReasons) {
  ASSERT_OK_AND_ASSIGN(
      const MigrationInfo info,
      ParseMigrationInfo(
          R"({"return":{"blocked-reasons":["Memory region pc.bios is not compatible with CPR","x"]}})"));
  EXPECT_THAT(
      info.blocked_reasons,
      ElementsAre("Memory region pc.bios is not compatible with CPR", "x"));
  EXPECT_EQ(info.status, "none");
}

TEST(QmpTest, ReadsMemoryBackends) {
  ASSERT_OK_AND_ASSIGN(
      const std::vector<MemoryBackend> backends,
      ParseMemoryBackends(
          R"({"return":[{"id":"pc.ram","size":4398046511104,"share":true,"merge":true,"dump":true,"prealloc":false,"host-nodes":[],"policy":"default"}]})"));
  ASSERT_THAT(backends, SizeIs(1));
  EXPECT_EQ(backends[0].id, "pc.ram");
  EXPECT_EQ(backends[0].size_bytes, uint64_t{4} << 40);
  EXPECT_TRUE(backends[0].shared);
}

TEST(QmpTest, RefusesABackendWithoutItsSize) {
  EXPECT_THAT(
      ParseMemoryBackends(R"({"return":[{"id":"pc.ram","share":true}]})"),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("size")));
  EXPECT_THAT(ParseMemoryBackends(
                  R"({"return":[{"id":"pc.ram","size":-1,"share":true}]})"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("size")));
}

TEST(QmpTest, ReadsWhereRamBlocksLie) {
  // As QEMU 10.0.2 prints them.
  ASSERT_OK_AND_ASSIGN(
      const std::vector<QemuRamBlock> blocks,
      ParseRamBlocks(
          "{\"return\":{\"human-readable-text\":\""
          "              Block Name    PSize              Offset               "
          "Used              Total                HVA  RO\\n"
          "                  pc.ram    4 KiB  0x0000000000000000 "
          "0x0000000010000000 0x0000000010000000 0x00007f2b6fe00000  rw\\n"
          "  0000:00:01.0/a b  c.rom    4 KiB  0x0000000010100000 "
          "0x0000000000040000 0x0000000000040000 0x00007f2b6fa00000  ro\\n"
          "\"}}"));
  ASSERT_THAT(blocks, SizeIs(2));
  EXPECT_EQ(blocks[0].name, "pc.ram");
  EXPECT_EQ(blocks[0].size_bytes, 0x10000000u);
  EXPECT_EQ(blocks[0].address, 0x7f2b6fe00000u);
  EXPECT_EQ(blocks[1].address, 0x7f2b6fa00000u);
}

TEST(QmpTest, RefusesATableOfAnotherForm) {
  EXPECT_THAT(
      ParseRamBlocks(
          R"({"return":{"human-readable-text":"Block Name\npc.ram\n"}})"),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("HVA")));
}

TEST(QmpTest, ReadsBlockJobsAndVersion) {
  ASSERT_OK_AND_ASSIGN(
      const std::vector<std::string> jobs,
      ParseBlockJobs(
          R"({"return":[{"type":"backup","device":"vda","len":1}]})"));
  EXPECT_THAT(jobs, ElementsAre("backup of vda"));
  ASSERT_OK_AND_ASSIGN(
      const std::string version,
      ParseVersion(
          R"({"return":{"qemu":{"micro":2,"minor":0,"major":10},"package":"Debian"}})"));
  EXPECT_EQ(version, "10.0.2");
}

TEST(QmpTest, GetsProperties) {
  FakeQemu qemu;
  Qmp qmp(&qemu);
  qemu.Answer("qom-get", R"({"return":true})");
  ASSERT_OK_AND_ASSIGN(const bool value,
                       qmp.GetBool("/machine", "aux-ram-share", Soon()));
  EXPECT_TRUE(value);
  EXPECT_THAT(qmp.GetString("/machine", "aux-ram-share", Soon()),
              StatusIs(absl::StatusCode::kInternal,
                       "qom-get /machine aux-ram-share: not a string"));
}

TEST(QmpTest, SaysWhichCommandFailed) {
  FakeQemu qemu;
  EXPECT_THAT(Qmp(&qemu).AnnounceSelf(Soon()),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("announce-self: QEMU: The command")));
}

TEST(QmpTest, EndsAMigrationOnlyIfOneIsUnderWay) {
  FakeQemu qemu;
  EXPECT_THAT(Qmp(&qemu).EndMigration(Soon()), IsOk());
  EXPECT_THAT(qemu.commands(),
              ElementsAre("query-migrate", "migrate-set-parameters"));
}

TEST(QmpTest, WaitsForAMigrationToEndNoLongerThanItMay) {
  FakeQemu qemu;
  qemu.Answer("query-migrate", R"({"return":{"status":"active"}})");
  EXPECT_THAT(
      Qmp(&qemu).EndMigration(absl::Now() + absl::Milliseconds(50)),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("active")));
}

}  // namespace
}  // namespace live_update
