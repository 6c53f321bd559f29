// Feeds arbitrary bytes to the reader, as they are, with their CRCs repaired,
// and signed with the key that the reader is given: random bytes practically
// never pass a CRC or a MAC, and what lies behind one must stand up to bytes
// that do. What the reader accepts, the writer must be able to write so that it
// reads the same.

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
  Require(written.ram_digests.has_value() == read.ram_digests.has_value(),
          "RAM digests got lost");
  Require(!read.ram_digests.has_value() ||
              written.ram_digests->SerializeAsString() ==
                  read.ram_digests->SerializeAsString(),
          "RAM digests changed");
}

// With the version and, if there is one, the key of what was read.
void ReadAndRewrite(absl::Span<const uint8_t> image, const HandoverKey* key) {
  const absl::StatusOr<HandoverReader> reader =
      HandoverReader::Open(image, key);
  if (!reader.ok()) return;
  Require(
      (reader->authenticity() == Authenticity::kVerified) == (key != nullptr),
      "accepted without the MAC that was asked for");
  (void)HandoverToText(*reader, {.with_domain_xml = true});
  (void)HandoverToJson(*reader, {.with_domain_xml = true});
  std::vector<ExampleVm> vms;
  for (size_t i = 0; i < reader->vms().size(); ++i) {
    absl::StatusOr<IncomingVm> vm = reader->ReadVm(i);
    if (!vm.ok()) continue;
    vms.push_back(ExampleVm{.record = std::move(vm->record),
                            .device_state = std::string(vm->device_state),
                            .auxiliary = std::move(vm->auxiliary),
                            .ram_digests = std::move(vm->ram_digests)});
  }

  const absl::StatusOr<std::vector<uint8_t>> rewritten = WriteHandover(
      reader->host(), vms, {.version = reader->version(), .key = key});
  Require(rewritten.ok(), "accepted, but can't be written");
  const absl::StatusOr<HandoverReader> again =
      HandoverReader::Open(*rewritten, key);
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

// As handover_dump does without the key.
void Look(absl::Span<const uint8_t> image) {
  const absl::StatusOr<HandoverReader> reader =
      HandoverReader::OpenUnverified(image);
  if (!reader.ok()) return;
  Require(reader->authenticity() != Authenticity::kVerified,
          "verified without a key");
  (void)HandoverToText(*reader, {.with_domain_xml = true});
}

}  // namespace
}  // namespace live_update

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  google::protobuf::SetLogHandler(nullptr);  // A line for each bad string.
  std::vector<uint8_t> image(data, data + size);
  live_update::ReadAndRewrite(image, nullptr);
  (void)live_update::HandoverReader::OpenUnverified(image);
  live_update::RepairCrcs(absl::MakeSpan(image));
  live_update::ReadAndRewrite(image, nullptr);
  live_update::Look(image);
  const live_update::HandoverKey key = live_update::ExampleKey();
  live_update::RepairCrcsAndMac(key, absl::MakeSpan(image));
  live_update::ReadAndRewrite(image, &key);
  return 0;
}
