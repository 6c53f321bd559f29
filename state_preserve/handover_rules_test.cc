#include "state_preserve/handover_rules.h"

#include <functional>
#include <string>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/format.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::HasSubstr;

// What the rules say of web-1 after `change`.
absl::Status CheckChanged(const std::function<void(ExampleVm*)>& change) {
  ExampleVm vm = ExampleVms().front();
  change(&vm);
  return CheckVm(vm.record, vm.device_state.size(), vm.auxiliary);
}

::testing::Matcher<absl::Status> IsRefusedWith(const std::string& reason) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(reason));
}

TEST(HandoverRulesTest, AllowTheExample) {
  EXPECT_THAT(CheckChanged([](ExampleVm*) {}), IsOk());
  EXPECT_THAT(CheckHostRecord(ExampleHost()), IsOk());
}

TEST(HandoverRulesTest, RefuseAVmThatCannotBeNamed) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) { vm->record.set_uuid("1"); }),
              IsRefusedWith("uuid: not a UUID"));
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->record.set_name(std::string(256, 'n'));
              }),
              IsRefusedWith("name: 256 bytes, more than 255"));
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->record.set_name(std::string("a\0b", 3));
              }),
              IsRefusedWith("name: has a NUL byte"));
}

TEST(HandoverRulesTest, RefuseWhatIsTooLarge) {
  EXPECT_THAT(
      CheckChanged([](ExampleVm* vm) {
        vm->record.set_domain_xml(std::string(kMaxDomainXmlBytes + 1, 'x'));
      }),
      IsRefusedWith("domain_xml: "));
  EXPECT_THAT(CheckVm(ExampleVms().front().record, kMaxDeviceStateBytes + 1,
                      ExampleVms().front().auxiliary),
              IsRefusedWith("device state's bytes"));
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                for (uint64_t i = 0; i <= kMaxBlocksPerVm; ++i) {
                  vm->record.add_blocks();
                }
              }),
              IsRefusedWith("RAM blocks: "));
}

TEST(HandoverRulesTest, RefuseABlockWithoutContents) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) { vm->auxiliary.pop_back(); }),
              IsRefusedWith("vga.vram: its contents are missing"));
}

TEST(HandoverRulesTest, RefuseContentsWithoutABlock) {
  EXPECT_THAT(
      CheckChanged([](ExampleVm* vm) { vm->auxiliary[0].set_name("x"); }),
      IsRefusedWith("auxiliary RAM x: no RAM block asks for it"));
  // Nor for a block that is in place.
  EXPECT_THAT(
      CheckChanged([](ExampleVm* vm) { vm->auxiliary[0].set_name("pc.ram"); }),
      IsRefusedWith("auxiliary RAM pc.ram: no RAM block asks for it"));
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->auxiliary.push_back(vm->auxiliary.front());
              }),
              IsRefusedWith("auxiliary RAM pc.bios: no RAM block asks for it"));
}

TEST(HandoverRulesTest, RefuseContentsOfAnotherSize) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->auxiliary[2].set_size_bytes(1 << 20);
              }),
              IsRefusedWith("1048576 bytes for a block of 16777216"));
}

TEST(HandoverRulesTest, RefuseABlockTwice) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                *vm->record.add_blocks() = vm->record.blocks(0);
              }),
              IsRefusedWith("RAM block pc.ram: twice"));
}

TEST(HandoverRulesTest, RefuseABlockThatIsNowhere) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->record.mutable_blocks(0)->mutable_in_place()->clear_token();
              }),
              IsRefusedWith("RAM block pc.ram: in_place.token: empty"));
}

TEST(HandoverRulesTest, RefuseExtentsOutsideTheirBlock) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->auxiliary[0].mutable_extents(0)->set_offset(258049);
              }),
              IsRefusedWith("extent 258049+4096: past the block's 262144"));
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->auxiliary[0].mutable_extents(0)->set_offset(~uint64_t{0});
              }),
              IsRefusedWith("past the block's"));
}

TEST(HandoverRulesTest, RefuseExtentsThatOverlap) {
  EXPECT_THAT(CheckChanged([](ExampleVm* vm) {
                vm->auxiliary[1].mutable_extents(1)->set_offset(3);
              }),
              IsRefusedWith("extent at 3: overlaps the last"));
}

TEST(HandoverRulesTest, RefuseAHostRecordThatBelongsToNothing) {
  HostRecord host = ExampleHost();
  host.clear_boot_id();
  EXPECT_THAT(CheckHostRecord(host), IsRefusedWith("boot_id: empty"));
  host = ExampleHost();
  host.set_update_id("../x");
  EXPECT_THAT(CheckHostRecord(host), IsRefusedWith("update_id"));
  host = ExampleHost();
  host.add_inactive_vm_uuids("x");
  EXPECT_THAT(CheckHostRecord(host), IsRefusedWith("inactive_vm_uuids"));
  host = ExampleHost();
  host.add_overridden()->set_message(std::string(kMaxStringBytes + 1, 'm'));
  EXPECT_THAT(CheckHostRecord(host), IsRefusedWith("overridden: 1025 bytes"));
  host.clear_overridden();
  host.set_target_kernel(std::string(kMaxStringBytes + 1, 'k'));
  EXPECT_THAT(CheckHostRecord(host),
              IsRefusedWith("target_kernel: 1025 bytes"));
  host = ExampleHost();
  OtherVm& vm = *host.add_other_vms();
  vm.set_name("db");
  vm.set_uuid(ExampleVms().front().record.uuid());
  EXPECT_THAT(CheckHostRecord(host), IsRefusedWith("other_vms.way: empty"));
  vm.set_way("managedsave");
  EXPECT_THAT(CheckHostRecord(host), IsOk());
  vm.set_uuid("../x");
  EXPECT_THAT(CheckHostRecord(host), IsRefusedWith("other_vms.uuid"));
}

}  // namespace
}  // namespace live_update
