#include "state_preserve/handover_writer.h"

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_reader.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class HandoverWriterTest : public ::testing::Test {
 protected:
  // Larger than the example; full of what was there before.
  HandoverWriterTest() : area_(64 << 10, 0xcc) {}

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(writer_,
                         HandoverWriter::Create(absl::MakeSpan(area_)));
  }
  absl::Status Add(const ExampleVm& vm) {
    return writer_->AddVm(vm.record, vm.device_state, vm.auxiliary);
  }

  std::vector<uint8_t> area_;
  std::unique_ptr<HandoverWriter> writer_;
};

ExampleVm SmallVm(int number, size_t device_state_bytes) {
  ExampleVm vm;
  vm.record.set_name(absl::StrFormat("vm%d", number));
  vm.record.set_uuid(absl::StrFormat("00000000-0000-4000-8000-%012d", number));
  vm.record.set_domain_xml("<domain/>");
  vm.device_state.assign(device_state_bytes, static_cast<char>('a' + number));
  return vm;
}

TEST_F(HandoverWriterTest, IsValidOnlyBetweenCommitAndRevoke) {
  ASSERT_THAT(writer_->Finish(ExampleHost()), IsOk());
  EXPECT_THAT(HandoverReader::Open(area_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not committed")));
  ASSERT_THAT(writer_->Commit(), IsOk());
  EXPECT_THAT(HandoverReader::Open(area_), IsOk());
  writer_->Revoke();
  writer_->Revoke();
  EXPECT_THAT(HandoverReader::Open(area_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not committed")));
  ASSERT_THAT(writer_->Commit(), IsOk());
  EXPECT_THAT(HandoverReader::Open(area_), IsOk());
}

TEST_F(HandoverWriterTest, ANewWriterRevokesWhatWasThere) {
  ASSERT_THAT(writer_->Finish(ExampleHost()), IsOk());
  ASSERT_THAT(writer_->Commit(), IsOk());
  ASSERT_THAT(HandoverWriter::Create(absl::MakeSpan(area_)), IsOk());
  EXPECT_THAT(HandoverReader::Open(area_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not committed")));
}

TEST_F(HandoverWriterTest, WritesTheSameBytesWhateverWasInTheArea) {
  for (const ExampleVm& vm : ExampleVms()) ASSERT_THAT(Add(vm), IsOk());
  ASSERT_OK_AND_ASSIGN(const uint64_t size, writer_->Finish(ExampleHost()));
  ASSERT_THAT(writer_->Commit(), IsOk());
  area_.resize(size);
  ASSERT_OK_AND_ASSIGN(const std::vector<uint8_t> other,
                       WriteHandover(ExampleHost(), ExampleVms()));
  EXPECT_EQ(area_, other);
}

TEST_F(HandoverWriterTest, ThreadsAddVmsAtTheSameTime) {
  constexpr int kVms = 16;
  std::vector<std::thread> threads;
  threads.reserve(kVms);
  for (int i = 0; i < kVms; ++i) {
    threads.emplace_back(
        [this, i] { EXPECT_THAT(Add(SmallVm(i, 1000 + i)), IsOk()); });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_THAT(writer_->Finish(ExampleHost()), IsOk());
  ASSERT_THAT(writer_->Commit(), IsOk());

  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(area_));
  ASSERT_THAT(reader.vms(), SizeIs(kVms));
  for (size_t i = 0; i < kVms; ++i) {
    ASSERT_OK_AND_ASSIGN(const IncomingVm vm, reader.ReadVm(i));
    const int number = std::stoi(vm.record.name().substr(2));
    EXPECT_EQ(vm.device_state, SmallVm(number, 1000 + number).device_state);
  }
}

TEST_F(HandoverWriterTest, SaysWhatIsMissingWhenTheAreaIsFull) {
  EXPECT_THAT(Add(SmallVm(0, 60000)), IsOk());
  EXPECT_THAT(Add(SmallVm(1, 10000)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("vm1: state area is full: 10"),
                             HasSubstr(" needed, 5"), HasSubstr(" free"))));
  // Nothing of it is left: a smaller one fits, and the image is whole.
  EXPECT_THAT(Add(SmallVm(1, 100)), IsOk());
  ASSERT_THAT(writer_->Finish(ExampleHost()), IsOk());
  ASSERT_THAT(writer_->Commit(), IsOk());
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(area_));
  EXPECT_THAT(reader.ReadVm(1), IsOk());
}

TEST_F(HandoverWriterTest, AHostSectionThatDoesNotFitCanBeMadeSmaller) {
  ASSERT_THAT(Add(SmallVm(0, 60000)), IsOk());
  HostRecord host = ExampleHost();
  for (int i = 0; i < 1000; ++i) host.add_spans()->set_phase("a phase");
  EXPECT_THAT(writer_->Finish(host),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("host section")));
  EXPECT_THAT(writer_->Finish(ExampleHost()), IsOk());
}

TEST_F(HandoverWriterTest, RefusesTheSameVmTwice) {
  ASSERT_THAT(Add(SmallVm(0, 10)), IsOk());
  EXPECT_THAT(Add(SmallVm(0, 10)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("vm0")));
}

TEST_F(HandoverWriterTest, RefusesWhatTheReaderWouldRefuse) {
  ExampleVm nameless = SmallVm(0, 10);
  nameless.record.clear_name();
  EXPECT_THAT(Add(nameless), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("name: empty")));

  ExampleVm not_utf8 = SmallVm(0, 10);
  not_utf8.record.set_domain_xml("<domain>\xff</domain>");
  EXPECT_THAT(Add(not_utf8), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("not UTF-8")));

  EXPECT_THAT(writer_->Finish(HostRecord()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("host record: update_id")));
}

TEST_F(HandoverWriterTest, KeepsTheOrderOfItsSteps) {
  EXPECT_THAT(writer_->Commit(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                          HasSubstr("not finished")));
  ASSERT_THAT(writer_->Finish(ExampleHost()), IsOk());
  EXPECT_THAT(Add(SmallVm(0, 10)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("is finished")));
  EXPECT_THAT(writer_->Finish(ExampleHost()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("is finished")));
}

TEST(HandoverWriterCreateTest, RefusesAnAreaItCannotUse) {
  alignas(8) std::array<uint8_t, 128> area{};
  EXPECT_THAT(
      HandoverWriter::Create(absl::MakeSpan(area).subspan(0, 63)),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("63 bytes")));
  EXPECT_THAT(
      HandoverWriter::Create(absl::MakeSpan(area).subspan(4)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("aligned")));
}

TEST(HandoverWriterCreateTest, WritesThisVersionAndTheLastOnly) {
  alignas(8) std::array<uint8_t, 128> area{};
  EXPECT_THAT(
      HandoverWriter::Create(absl::MakeSpan(area), kOldestHandoverVersion),
      IsOk());
  for (const uint32_t version :
       {kOldestHandoverVersion - 1, kHandoverVersion + 1}) {
    EXPECT_THAT(HandoverWriter::Create(absl::MakeSpan(area), version),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("can't write handover version")));
  }
}

TEST(StateAreaBytesTest, AnAreaOfThatSizeHoldsTheWorstCase) {
  const VmStateEstimate estimate{.domain_xml_bytes = 10000,
                                 .auxiliary_ram_bytes = 1 << 20,
                                 .device_state_bytes = 100000};
  std::vector<uint8_t> area(StateAreaBytes({estimate, estimate}));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<HandoverWriter> writer,
                       HandoverWriter::Create(absl::MakeSpan(area)));
  for (int i = 0; i < 2; ++i) {
    ExampleVm vm = SmallVm(i, estimate.device_state_bytes);
    vm.record.set_domain_xml(std::string(estimate.domain_xml_bytes, 'x'));
    RamBlock* block = vm.record.add_blocks();
    block->set_name("vram");
    block->set_size_bytes(estimate.auxiliary_ram_bytes);
    AuxiliaryRam& ram = vm.auxiliary.emplace_back();
    ram.set_name("vram");
    ram.set_size_bytes(estimate.auxiliary_ram_bytes);
    // Worst case: nothing merges.
    for (uint64_t page = 0; page < estimate.auxiliary_ram_bytes; page += 4096) {
      AuxiliaryRam::Extent* extent = ram.add_extents();
      extent->set_offset(page);
      extent->set_data(std::string(4096, 'v'));
    }
    EXPECT_THAT(writer->AddVm(vm.record, vm.device_state, vm.auxiliary),
                IsOk());
  }
  EXPECT_THAT(writer->Finish(ExampleHost()), IsOk());
}

}  // namespace
}  // namespace live_update
