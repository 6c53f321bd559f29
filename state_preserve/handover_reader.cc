#include "state_preserve/handover_reader.h"

#include <cstring>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "state_preserve/handover_rules.h"
#include "state_preserve/names.h"
#include "state_preserve/record_reader.h"

namespace live_update {
namespace {

// Checks everything in the header that needs no more than the header.
absl::StatusOr<HandoverHeader> ReadHeader(absl::Span<const uint8_t> image) {
  HandoverHeader header;
  if (image.size() < sizeof(header)) {
    return TornAt(0, absl::StrCat("too short, ", image.size(), " bytes of a ",
                                  sizeof(header), "-byte header"));
  }
  std::memcpy(&header, image.data(), sizeof(header));
  if (header.magic == 0) {
    return absl::FailedPreconditionError(
        "not committed: its writer did not finish, or revoked it");
  }
  if (header.magic != kHandoverMagic) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "at offset 0: magic %#018x, not a handover image", header.magic));
  }
  if (header.header_crc32c != HeaderCrc32c(header)) {
    return TornAt(0, "header has a wrong CRC");
  }
  if (header.version < kOldestHandoverVersion ||
      header.version > kHandoverVersion) {
    return absl::UnimplementedError(absl::StrFormat(
        "written as version %d, %s than this program reads (%d to %d)",
        header.version, header.version > kHandoverVersion ? "newer" : "older",
        kOldestHandoverVersion, kHandoverVersion));
  }
  if (header.total_size > image.size()) {
    return TornAt(0, absl::StrFormat("truncated, %d of %d bytes", image.size(),
                                     header.total_size));
  }
  if (header.host_section_offset < sizeof(header) ||
      header.host_section_offset % 8 != 0 ||
      header.host_section_offset > header.total_size) {
    return TornAt(
        0, absl::StrFormat("host section at %#x is outside %#x",
                           header.host_section_offset, header.total_size));
  }
  return header;
}

absl::StatusOr<Record> Expect(RecordType type, absl::string_view name,
                              RecordReader* records) {
  LU_ASSIGN_OR_RETURN(const Record record, records->Next());
  if (record.type != type) {
    return TornAt(record.offset,
                  absl::StrCat("expected the ", name, " record"));
  }
  return record;
}

// A rule that the writer keeps was broken.
absl::Status Impossible(uint64_t offset, const absl::Status& rule) {
  return rule.ok() ? rule : TornAt(offset, rule.message());
}

// The text in `field`, which is filled up with zero bytes.
template <size_t kSize>
absl::string_view TextOf(const char (&field)[kSize]) {
  return absl::string_view(field, strnlen(field, kSize));
}

}  // namespace

absl::StatusOr<HandoverReader> HandoverReader::Open(
    absl::Span<const uint8_t> image, const HandoverKey* key) {
  return Open(image, key, /*from_anybody=*/false);
}

absl::StatusOr<HandoverReader> HandoverReader::OpenUnverified(
    absl::Span<const uint8_t> image) {
  return Open(image, nullptr, /*from_anybody=*/true);
}

absl::StatusOr<HandoverReader> HandoverReader::Open(
    absl::Span<const uint8_t> image, const HandoverKey* key,
    bool from_anybody) {
  LU_ASSIGN_OR_RETURN(const HandoverHeader header, ReadHeader(image));
  HandoverReader reader(image.subspan(0, header.total_size), header);
  LU_RETURN_IF_ERROR(reader.ReadHostSection(key, from_anybody));
  return reader;
}

absl::Status HandoverReader::ReadHostSection(const HandoverKey* key,
                                             bool from_anybody) {
  RecordReader records(image_, header_.host_section_offset, image_.size(),
                       header_.version);
  LU_ASSIGN_OR_RETURN(const Record host,
                      Expect(RecordType::kHost, "host", &records));
  LU_ASSIGN_OR_RETURN(const Record directory,
                      Expect(RecordType::kDirectory, "directory", &records));
  LU_ASSIGN_OR_RETURN(const Record last, records.Next());
  if (last.type == RecordType::kAuthentication) {
    LU_RETURN_IF_ERROR(Expect(RecordType::kEnd, "end", &records).status());
    absl::StatusOr<Authentication> authentication = ParseAuthentication(
        last.body, directory.body.size() / sizeof(DirectoryEntry));
    if (!authentication.ok()) {
      return Annotate(authentication.status(),
                      absl::StrFormat("at offset %#x", last.offset));
    }
    authentication_ = *std::move(authentication);
    authenticity_ = Authenticity::kNotChecked;
  } else if (last.type != RecordType::kEnd) {
    return TornAt(last.offset, "expected the end record");
  }
  // Before what it covers is parsed.
  if (!from_anybody) LU_RETURN_IF_ERROR(CheckMac(key, last.offset));

  LU_RETURN_IF_ERROR(ParseRecord(host, kMaxHostRecordBytes, &host_));
  LU_RETURN_IF_ERROR(Impossible(host.offset, CheckHostRecord(host_)));
  return ReadDirectory(directory.body, directory.offset);
}

absl::Status HandoverReader::CheckMac(const HandoverKey* key,
                                      uint64_t record_offset) {
  const bool has_mac = authenticity_ != Authenticity::kUnauthenticated;
  if (key == nullptr && !has_mac) return absl::OkStatus();
  if (key == nullptr) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the handover is authenticated with the key of id ", ToHex(key_id()),
        ", and no key is given: give it, as --handover-key FILE or as the "
        "systemd credential handover-key"));
  }
  if (!has_mac) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the handover is not authenticated, and this host asks for the key of "
        "id ",
        ToHex(key->id()),
        ": it was written without a key, or is forged; if you know that it was "
        "written so, restore without the key"));
  }
  if (key_id() != key->id()) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the handover is authenticated with the key of id ", ToHex(key_id()),
        ", and the key given has id ", ToHex(key->id()),
        ": give the key that the update was given"));
  }
  LU_ASSIGN_OR_RETURN(
      const Mac expected,
      ComputeMac(*key, header_, image_.subspan(header_.host_section_offset),
                 record_offset - header_.host_section_offset));
  if (!EqualInConstantTime(expected, authentication_.mac)) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the handover's MAC is not of the key of id ", ToHex(key_id()),
        ": it was changed after it was written, or is forged"));
  }
  authenticity_ = Authenticity::kVerified;
  return absl::OkStatus();
}

absl::Status HandoverReader::ReadDirectory(absl::string_view body,
                                           uint64_t offset) {
  const uint64_t count = body.size() / sizeof(DirectoryEntry);
  if (body.size() % sizeof(DirectoryEntry) != 0 || count > kMaxVms) {
    return TornAt(offset, absl::StrCat("directory of ", body.size(), " bytes"));
  }
  absl::flat_hash_set<std::string> uuids;
  uint64_t free_from = sizeof(HandoverHeader);
  for (uint64_t i = 0; i < count; ++i) {
    DirectoryEntry entry;
    std::memcpy(&entry, body.data() + i * sizeof(entry), sizeof(entry));
    if (entry.offset < free_from || entry.offset % 8 != 0 ||
        !FitsWithin(entry.offset, entry.size, header_.host_section_offset)) {
      return TornAt(offset,
                    absl::StrFormat("directory entry %d: section at %#x+%#x is "
                                    "not between %#x and %#x",
                                    i, entry.offset, entry.size, free_from,
                                    header_.host_section_offset));
    }
    free_from = entry.offset + entry.size;
    VmSection vm{.name = std::string(TextOf(entry.name)),
                 .uuid = std::string(TextOf(entry.uuid)),
                 .offset = entry.offset,
                 .size = entry.size};
    if (vm.name.empty() || vm.name.size() > kMaxNameBytes || !IsUuid(vm.uuid) ||
        !uuids.insert(vm.uuid).second) {
      return TornAt(offset,
                    absl::StrFormat("directory entry %d: no name, no UUID, or "
                                    "the UUID of another",
                                    i));
    }
    vms_.push_back(std::move(vm));
  }
  return absl::OkStatus();
}

absl::StatusOr<IncomingVm> HandoverReader::ReadVm(size_t index) const {
  const VmSection& section = vms_[index];
  if (authenticity_ != Authenticity::kUnauthenticated) {
    LU_ASSIGN_OR_RETURN(const SectionDigest digest,
                        Sha256(image_.subspan(section.offset, section.size)));
    if (!EqualInConstantTime(digest.sha256,
                             authentication_.sections[index].sha256)) {
      return absl::UnauthenticatedError(absl::StrFormat(
          "the section at %#x+%#x is not what the handover's MAC covers: it "
          "was changed after it was written",
          section.offset, section.size));
    }
  }
  IncomingVm vm;
  RecordReader records(image_, section.offset, section.offset + section.size,
                       header_.version);

  LU_ASSIGN_OR_RETURN(const Record first,
                      Expect(RecordType::kVm, "VM", &records));
  LU_RETURN_IF_ERROR(ParseRecord(first, kMaxVmRecordBytes, &vm.record));
  if (vm.record.uuid() != section.uuid || vm.record.name() != section.name) {
    return TornAt(first.offset, "not the VM that the directory names");
  }
  LU_ASSIGN_OR_RETURN(
      const Record device_state,
      Expect(RecordType::kDeviceState, "device state", &records));
  vm.device_state = device_state.body;

  uint64_t auxiliary_left = kMaxAuxiliaryRamBytes;
  uint64_t digests_offset = 0;
  while (true) {
    LU_ASSIGN_OR_RETURN(const Record record, records.Next());
    if (record.type == RecordType::kEnd) break;
    if (record.type == RecordType::kRamDigests && !vm.ram_digests.has_value()) {
      LU_RETURN_IF_ERROR(
          ParseRecord(record, kMaxRamDigestsBytes, &vm.ram_digests.emplace()));
      digests_offset = record.offset;
      continue;
    }
    if (record.type != RecordType::kAuxiliaryRam ||
        vm.ram_digests.has_value()) {
      return TornAt(record.offset, "expected an auxiliary RAM or end record");
    }
    if (vm.auxiliary.size() == kMaxBlocksPerVm) {
      return TornAt(record.offset, "too many auxiliary RAM records");
    }
    LU_RETURN_IF_ERROR(
        ParseRecord(record, auxiliary_left, &vm.auxiliary.emplace_back()));
    auxiliary_left -= record.body.size();
  }
  LU_RETURN_IF_ERROR(Impossible(
      first.offset, CheckVm(vm.record, vm.device_state.size(), vm.auxiliary)));
  if (vm.ram_digests.has_value()) {
    LU_RETURN_IF_ERROR(Impossible(digests_offset,
                                  CheckRamDigests(*vm.ram_digests, vm.record)));
  }
  return vm;
}

absl::Status CheckBelongsHere(const HostRecord& host,
                              absl::string_view machine_id,
                              absl::string_view boot_id,
                              uint64_t last_counter) {
  if (host.host_id() != machine_id) {
    return absl::PermissionDeniedError(
        absl::StrCat("the handover is of host ", host.host_id(),
                     ", this one is ", machine_id));
  }
  if (host.boot_id() == boot_id && !host.qemu_restart()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the handover was written in this boot, ", boot_id,
                     ": no kexec has followed it"));
  }
  if (host.counter() <= last_counter) {
    return absl::AlreadyExistsError(
        absl::StrCat("the handover is number ", host.counter(), ", and number ",
                     last_counter, " has been restored here already"));
  }
  return absl::OkStatus();
}

}  // namespace live_update
