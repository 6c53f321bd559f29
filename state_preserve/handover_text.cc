#include "state_preserve/handover_text.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/crc32c.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "state_preserve/handover_key.h"
#include "state_preserve/ram_digest.h"

namespace live_update {
namespace {

using ::google::protobuf::Message;

std::string ToJson(const Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "null";
}

google::protobuf::Value ValueOf(absl::string_view text) {
  google::protobuf::Value value;
  value.set_string_value(std::string(text));
  return value;
}

// Protobuf refuses to parse strings that are not.
bool IsUtf8(absl::string_view text) {
  return google::protobuf::Value().ParseFromString(
      ValueOf(text).SerializeAsString());
}

// `text` as a JSON string, quotes included. The name of a torn VM may be
// anything: what is not UTF-8 is escaped.
std::string Quoted(absl::string_view text) {
  return ToJson(
      ValueOf(IsUtf8(text) ? std::string(text) : absl::CEscape(text)));
}

// `text` such that it does nothing to a terminal.
std::string Printable(absl::string_view text) {
  return IsUtf8(text) ? absl::Utf8SafeCEscape(text) : absl::CEscape(text);
}

VmRecord Shown(const VmRecord& record, const HandoverTextOptions& options) {
  VmRecord shown = record;
  if (!options.with_domain_xml) {
    shown.set_domain_xml(
        absl::StrCat("(", record.domain_xml().size(), " bytes)"));
  }
  return shown;
}

struct AuxiliarySummary {
  uint64_t stored_bytes = 0;
  uint32_t crc32c = 0;  // Of the extents' data, one after the other.
};

AuxiliarySummary Summarize(const AuxiliaryRam& ram) {
  AuxiliarySummary summary;
  for (const AuxiliaryRam::Extent& extent : ram.extents()) {
    summary.stored_bytes += extent.data().size();
    summary.crc32c =
        ExtendCrc32c(summary.crc32c,
                     absl::MakeConstSpan(
                         reinterpret_cast<const uint8_t*>(extent.data().data()),
                         extent.data().size()));
  }
  return summary;
}

std::string AuthenticationText(const HandoverReader& reader) {
  if (reader.authenticity() == Authenticity::kUnauthenticated) {
    return "authentication: none\n";
  }
  return absl::StrCat("authentication: HMAC-SHA256, key id ",
                      ToHex(reader.key_id()),
                      reader.authenticity() == Authenticity::kVerified
                          ? ", verified\n"
                          : ", NOT CHECKED: no key was given\n");
}

std::string AuthenticationJson(const HandoverReader& reader) {
  if (reader.authenticity() == Authenticity::kUnauthenticated) return "null";
  return absl::StrCat(
      "{\"algorithm\":\"HMAC-SHA256\",\"key_id\":\"", ToHex(reader.key_id()),
      "\",\"verified\":",
      reader.authenticity() == Authenticity::kVerified ? "true" : "false", "}");
}

// Not the digests themselves: one of a page that is easily guessed tells it.
std::string RamDigestsJson(const IncomingVm& vm) {
  if (!vm.ram_digests.has_value()) return "null";
  const RamDigests& digests = *vm.ram_digests;
  size_t count = 0;
  for (const RamDigests::Block& block : digests.blocks()) {
    count += static_cast<size_t>(block.digests_size());
  }
  return absl::StrFormat(
      "{\"hash\":%d,\"chunk_bytes\":%d,\"all_chunks\":%s,\"digests\":%d,"
      "\"digest_s\":%.6f}",
      static_cast<int>(digests.hash()), digests.chunk_bytes(),
      digests.all_chunks() ? "true" : "false", count,
      std::isfinite(digests.digest_s()) ? digests.digest_s() : 0.0);
}

// What was found of the RAM of VM `index`; null if nobody has asked.
const absl::Status* RamVerdict(const HandoverTextOptions& options,
                               size_t index) {
  return index < options.ram_verdicts.size() ? &options.ram_verdicts[index]
                                             : nullptr;
}

std::string Indented(absl::string_view text, absl::string_view indent) {
  std::string out;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    absl::StrAppend(&out, indent, text.substr(begin, end - begin), "\n");
    if (end == absl::string_view::npos) break;
    begin = end + 1;
  }
  return out;
}

std::string VmToText(const HandoverReader& reader, size_t index,
                     const HandoverTextOptions& options) {
  const VmSection& section = reader.vms()[index];
  std::string text =
      absl::StrFormat("vm %d  %s  %s  at %#x+%#x\n", index, section.uuid,
                      Printable(section.name), section.offset, section.size);
  const absl::StatusOr<IncomingVm> vm = reader.ReadVm(index);
  if (!vm.ok()) {
    absl::StrAppend(&text, "  REFUSED: ", vm.status().message(), "\n");
    return text;
  }
  absl::StrAppend(&text,
                  Indented(Shown(vm->record, options).DebugString(), "  "));
  absl::StrAppendFormat(&text, "  device state: %d bytes, crc32c %08x\n",
                        vm->device_state.size(), Crc32c(vm->device_state));
  for (const AuxiliaryRam& ram : vm->auxiliary) {
    const AuxiliarySummary summary = Summarize(ram);
    absl::StrAppendFormat(
        &text, "  auxiliary RAM %s: %d bytes, %d stored, crc32c %08x\n",
        Printable(ram.name()), ram.size_bytes(), summary.stored_bytes,
        summary.crc32c);
  }
  if (vm->ram_digests.has_value()) {
    absl::StrAppend(
        &text, "  RAM digests: ", DescribeRamDigests(*vm->ram_digests), "\n");
  }
  if (const absl::Status* ram = RamVerdict(options, index); ram != nullptr) {
    absl::StrAppend(
        &text, "  RAM: ",
        ram->ok() ? (vm->ram_digests.has_value() ? "is what the digests say"
                                                 : "has no digests")
                  : Printable(ram->message()),
        "\n");
  }
  return text;
}

std::string VmToJson(const HandoverReader& reader, size_t index,
                     const HandoverTextOptions& options) {
  const VmSection& section = reader.vms()[index];
  std::string json = absl::StrCat(
      "{\"name\":", Quoted(section.name), ",\"uuid\":", Quoted(section.uuid),
      ",\"offset\":", section.offset, ",\"size\":", section.size);
  const absl::StatusOr<IncomingVm> vm = reader.ReadVm(index);
  if (!vm.ok()) {
    return absl::StrCat(json, ",\"error\":", Quoted(vm.status().message()),
                        "}");
  }
  const absl::Status* const verdict = RamVerdict(options, index);
  std::vector<std::string> auxiliary;
  for (const AuxiliaryRam& ram : vm->auxiliary) {
    const AuxiliarySummary summary = Summarize(ram);
    auxiliary.push_back(absl::StrFormat(
        "{\"name\":%s,\"bytes\":%d,\"stored_bytes\":%d,\"crc32c\":\"%08x\"}",
        Quoted(ram.name()), ram.size_bytes(), summary.stored_bytes,
        summary.crc32c));
  }
  return absl::StrCat(
      json, ",\"record\":", ToJson(Shown(vm->record, options)),
      absl::StrFormat(",\"device_state\":{\"bytes\":%d,\"crc32c\":\"%08x\"}",
                      vm->device_state.size(), Crc32c(vm->device_state)),
      ",\"auxiliary\":[", absl::StrJoin(auxiliary, ","),
      "],\"ram_digests\":", RamDigestsJson(*vm), ",\"ram\":",
      verdict == nullptr ? "null"
                         : Quoted(verdict->ok() ? "ok" : verdict->message()),
      "}");
}

}  // namespace

std::string HandoverToText(const HandoverReader& reader,
                           const HandoverTextOptions& options) {
  std::string text = absl::StrFormat(
      "handover image, version %d, %d bytes, %d VMs\n"
      "host section at %#x\n",
      reader.version(), reader.total_size(), reader.vms().size(),
      reader.header().host_section_offset);
  absl::StrAppend(&text, AuthenticationText(reader));
  absl::StrAppend(&text, Indented(reader.host().DebugString(), "  "));
  for (size_t i = 0; i < reader.vms().size(); ++i) {
    absl::StrAppend(&text, VmToText(reader, i, options));
  }
  const size_t torn = CountTornVms(reader);
  absl::StrAppend(&text, torn == 0 ? "verified: every section is whole\n"
                                   : absl::StrCat("VMs refused: ", torn, "\n"));
  return text;
}

std::string HandoverToJson(const HandoverReader& reader,
                           const HandoverTextOptions& options) {
  std::vector<std::string> vms;
  for (size_t i = 0; i < reader.vms().size(); ++i) {
    vms.push_back(VmToJson(reader, i, options));
  }
  return absl::StrCat("{\"version\":", reader.version(),
                      ",\"total_size\":", reader.total_size(),
                      ",\"authentication\":", AuthenticationJson(reader),
                      ",\"host\":", ToJson(reader.host()), ",\"vms\":[",
                      absl::StrJoin(vms, ","), "]}\n");
}

size_t CountTornVms(const HandoverReader& reader) {
  size_t torn = 0;
  for (size_t i = 0; i < reader.vms().size(); ++i) {
    if (!reader.ReadVm(i).ok()) ++torn;
  }
  return torn;
}

}  // namespace live_update
