// Feeds arbitrary bytes to the reader, as they are and with their CRCs
// repaired: random bytes practically never pass a CRC, and what lies behind one
// must stand up to bytes that do. What the reader accepts, the writer must be
// able to write so that it reads the same.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "google/protobuf/stubs/logging.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/handover_text.h"
#include "state_preserve/repair_crcs.h"

namespace live_update {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

void RequireSameVm(const ExampleVm& written, const IncomingVm& read) {
  Require(written.record.SerializeAsString() == read.record.SerializeAsString(),
          "VM record changed");
  Require(written.device_state == read.device_state, "device state changed");
  Require(written.auxiliary.size() == read.auxiliary.size(),
          "auxiliary RAM got lost");
  for (size_t i = 0; i < written.auxiliary.size(); ++i) {
    Require(written.auxiliary[i].SerializeAsString() ==
                read.auxiliary[i].SerializeAsString(),
            "auxiliary RAM changed");
  }
}

void ReadAndRewrite(absl::Span<const uint8_t> image) {
  const absl::StatusOr<HandoverReader> reader = HandoverReader::Open(image);
  if (!reader.ok()) return;
  (void)HandoverToText(*reader, {.with_domain_xml = true});
  (void)HandoverToJson(*reader, {.with_domain_xml = true});
  std::vector<ExampleVm> vms;
  for (size_t i = 0; i < reader->vms().size(); ++i) {
    absl::StatusOr<IncomingVm> vm = reader->ReadVm(i);
    if (!vm.ok()) continue;
    vms.push_back(ExampleVm{.record = std::move(vm->record),
                            .device_state = std::string(vm->device_state),
                            .auxiliary = std::move(vm->auxiliary)});
  }

  const absl::StatusOr<std::vector<uint8_t>> rewritten =
      WriteHandover(reader->host(), vms);
  Require(rewritten.ok(), "accepted, but can't be written");
  const absl::StatusOr<HandoverReader> again = HandoverReader::Open(*rewritten);
  Require(again.ok(), "written, but not accepted");
  Require(
      again->host().SerializeAsString() == reader->host().SerializeAsString(),
      "host record changed");
  Require(again->vms().size() == vms.size(), "VMs got lost");
  for (size_t i = 0; i < vms.size(); ++i) {
    const absl::StatusOr<IncomingVm> vm = again->ReadVm(i);
    Require(vm.ok(), "VM written, but not accepted");
    RequireSameVm(vms[i], *vm);
  }
}

}  // namespace
}  // namespace live_update

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  google::protobuf::SetLogHandler(nullptr);  // A line for each bad string.
  std::vector<uint8_t> image(data, data + size);
  live_update::ReadAndRewrite(image);
  live_update::RepairCrcs(absl::MakeSpan(image));
  live_update::ReadAndRewrite(image);
  return 0;
}
