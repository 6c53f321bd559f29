#include "state_preserve/luo_index.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kWeb[] = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

LuoIndex::Vm& AddVm(LuoIndex& index, const std::string& uuid) {
  LuoIndex::Vm& vm = *index.add_vms();
  vm.set_uuid(uuid);
  vm.set_session(absl::StrCat("hu-vm-", uuid));
  return vm;
}

void AddBlock(LuoIndex::Vm& vm, const std::string& name, uint64_t token) {
  LuoIndex::Block& block = *vm.add_blocks();
  block.set_name(name);
  block.set_token(token);
  block.set_size_bytes(1 << 20);
}

LuoIndex Example() {
  LuoIndex index;
  index.set_update_id("u1");
  index.set_boot_id("boot-1");
  LuoIndex::Vm& vm = AddVm(index, kWeb);
  AddBlock(vm, "pc.ram", 2);
  AddBlock(vm, "ram-node1", 3);
  return index;
}

std::vector<uint8_t> Written(const LuoIndex& index, size_t size = 4096) {
  std::vector<uint8_t> area(size);
  EXPECT_THAT(WriteLuoIndex(index, absl::MakeSpan(area)), IsOk());
  return area;
}

TEST(LuoIndexTest, IsReadAsItWasWritten) {
  const LuoIndex index = Example();
  ASSERT_OK_AND_ASSIGN(const LuoIndex read, ReadLuoIndex(Written(index)));
  EXPECT_EQ(read.SerializeAsString(), index.SerializeAsString());
  EXPECT_EQ(FindVm(read, kWeb)->blocks_size(), 2);
  EXPECT_EQ(FindVm(read, "other"), nullptr);
}

TEST(LuoIndexTest, AShorterOneReplacesALongerOne) {
  std::vector<uint8_t> area = Written(Example());
  LuoIndex shorter = Example();
  shorter.clear_vms();
  ASSERT_THAT(WriteLuoIndex(shorter, absl::MakeSpan(area)), IsOk());
  ASSERT_OK_AND_ASSIGN(const LuoIndex read, ReadLuoIndex(area));
  EXPECT_EQ(read.vms_size(), 0);
}

TEST(LuoIndexTest, HasRoomForAsManyVmsAsAnUpdateMayHave) {
  LuoIndex index = Example();
  index.clear_vms();
  for (int i = 0; i < 4096; ++i) {
    LuoIndex::Vm& vm =
        AddVm(index, absl::StrFormat("c7a5fdbd-edaf-9455-926a-%012x", i));
    for (int node = 0; node < 8; ++node) {
      AddBlock(vm, absl::StrCat("ram-node", node), 2 + 8 * i + node);
    }
  }
  std::vector<uint8_t> area(kLuoIndexBytes);
  ASSERT_THAT(WriteLuoIndex(index, absl::MakeSpan(area)), IsOk());
  EXPECT_THAT(ReadLuoIndex(area), IsOk());
  AddVm(index, kWeb);
  EXPECT_THAT(WriteLuoIndex(index, absl::MakeSpan(area)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("4097 VMs, more than 4096")));
}

TEST(LuoIndexTest, LeavesTheOldOneWhereTheNewOneHasNoRoom) {
  std::vector<uint8_t> area = Written(Example(), 256);
  LuoIndex larger = Example();
  AddBlock(*larger.mutable_vms(0), std::string(200, 'b'), 4);
  EXPECT_THAT(
      WriteLuoIndex(larger, absl::MakeSpan(area)),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("224 there")));
  EXPECT_THAT(ReadLuoIndex(area), IsOk());
}

TEST(LuoIndexTest, NoFlippedBitIsAccepted) {
  std::vector<uint8_t> area = Written(Example());
  LuoIndexHeader header;
  std::memcpy(&header, area.data(), sizeof(header));
  for (size_t bit = 0; bit < (sizeof(header) + header.body_size) * 8; ++bit) {
    area[bit / 8] ^= 1 << bit % 8;
    EXPECT_FALSE(ReadLuoIndex(area).ok()) << "bit " << bit;
    area[bit / 8] ^= 1 << bit % 8;
  }
  EXPECT_THAT(ReadLuoIndex(area), IsOk());
}

TEST(LuoIndexTest, IsNotReadWhenCutShort) {
  const std::vector<uint8_t> area = Written(Example());
  LuoIndexHeader header;
  std::memcpy(&header, area.data(), sizeof(header));
  const size_t end = sizeof(header) + header.body_size;
  for (size_t size = 0; size < end; ++size) {
    EXPECT_THAT(ReadLuoIndex(absl::MakeConstSpan(area).first(size)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("index: ")))
        << size;
  }
}

TEST(LuoIndexTest, SaysThatNoneWasWritten) {
  EXPECT_THAT(
      ReadLuoIndex(std::vector<uint8_t>(64)),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("none was written")));
}

TEST(LuoIndexTest, RefusesWhatIsNamedTwiceOrNotAtAll) {
  const auto expect_refused = [](const LuoIndex& index, const char* why) {
    EXPECT_THAT(CheckLuoIndex(index),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  LuoIndex index = Example();
  index.set_update_id("../u1");
  expect_refused(index, "update id");
  index = Example();
  index.clear_boot_id();
  expect_refused(index, "boot id");
  index = Example();
  index.mutable_vms(0)->set_uuid("web");
  expect_refused(index, "UUID");
  index = Example();
  index.mutable_vms(0)->set_session("hu-handover");
  expect_refused(index, "session");
  index = Example();
  index.mutable_vms(0)->set_session("hu-vm-" + std::string(53, 'x'));
  expect_refused(index, "session");
  index = Example();
  *index.add_vms() = index.vms(0);
  expect_refused(index, "twice");
  index = Example();
  AddBlock(*index.mutable_vms(0), "pc.ram", 4);
  expect_refused(index, "twice");
  index = Example();
  AddBlock(*index.mutable_vms(0), "other", 3);
  expect_refused(index, "twice");
  index = Example();
  AddBlock(*index.mutable_vms(0), "other", kLuoImageToken);
  expect_refused(index, "no RAM's token");
  index = Example();
  index.mutable_vms(0)->mutable_blocks(0)->set_size_bytes(0);
  expect_refused(index, "of no size");
}

}  // namespace
}  // namespace live_update
