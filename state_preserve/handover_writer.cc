#include "state_preserve/handover_writer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "state_preserve/handover_authentication.h"
#include "state_preserve/handover_rules.h"

namespace live_update {
namespace {

// Serializes `message` such that the reader surely parses it: protobuf writes
// strings that are not UTF-8, and refuses to read them.
template <typename Message>
absl::StatusOr<std::string> Serialize(const Message& message) {
  const std::string bytes = message.SerializeAsString();
  if (!Message().ParseFromString(bytes)) {
    return absl::InvalidArgumentError("a string in it is not UTF-8");
  }
  return bytes;
}

// Writes records one after the other into memory that is known to suffice.
class RecordWriter {
 public:
  explicit RecordWriter(uint8_t* position) : position_(position) {}

  // `fill` writes the body to where it is told.
  void Put(RecordType type, uint64_t body_size,
           absl::FunctionRef<void(uint8_t*)> fill) {
    uint8_t* const body = position_ + sizeof(RecordHeader);
    const uint64_t padded_size = PaddedSize(body_size);
    fill(body);
    std::memset(body + body_size, 0, padded_size - body_size);

    RecordHeader header{
        .type = static_cast<uint32_t>(type),
        .reserved = 0,
        .body_size = body_size,
        .body_crc32c = Crc32c(absl::MakeConstSpan(body, padded_size)),
        .header_crc32c = 0};
    header.header_crc32c = HeaderCrc32c(header);
    std::memcpy(position_, &header, sizeof(header));
    position_ = body + padded_size;
  }

  void PutBytes(RecordType type, absl::string_view body) {
    Put(type, body.size(), [body](uint8_t* to) {
      if (!body.empty()) std::memcpy(to, body.data(), body.size());
    });
  }

  // `message` caches its size: ByteSizeLong() was called for it just now.
  void PutMessage(RecordType type,
                  const google::protobuf::MessageLite& message) {
    Put(type, static_cast<uint64_t>(message.GetCachedSize()),
        [&message](uint8_t* to) {
          message.SerializeWithCachedSizesToArray(to);
        });
  }

 private:
  uint8_t* position_;
};

}  // namespace

absl::Status CheckWritable(uint32_t version, bool authenticated) {
  if (version < kOldestHandoverVersion || version > kHandoverVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("can't write handover version ", version, ", only ",
                     kOldestHandoverVersion, " to ", kHandoverVersion));
  }
  if (authenticated && version < kFirstAuthenticatedVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("a handover of version ", version,
                     " can't be authenticated: write version ",
                     kFirstAuthenticatedVersion, ", or give no key"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<HandoverWriter>> HandoverWriter::Create(
    absl::Span<uint8_t> area, uint32_t version, const HandoverKey* key) {
  LU_RETURN_IF_ERROR(CheckWritable(version, key != nullptr));
  if (area.size() < sizeof(HandoverHeader)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("state area of ", area.size(), " bytes, header needs ",
                     sizeof(HandoverHeader)));
  }
  if (reinterpret_cast<uintptr_t>(area.data()) % alignof(uint64_t) != 0) {
    return absl::InvalidArgumentError("state area is not aligned to 8 bytes");
  }
  // Using new to access a non-public constructor.
  auto writer = absl::WrapUnique(new HandoverWriter(area, version, key));
  writer->Revoke();
  return writer;
}

absl::Status HandoverWriter::CheckRoom(uint64_t size) const {
  const uint64_t free_bytes = area_.size() - used_bytes_;
  if (size <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "state area is full: ", size, " bytes needed, ", free_bytes, " free"));
}

absl::StatusOr<size_t> HandoverWriter::Reserve(DirectoryEntry entry,
                                               uint64_t size,
                                               uint64_t* offset) {
  absl::MutexLock lock(&mutex_);
  if (finished_) {
    return absl::FailedPreconditionError("the image is finished");
  }
  if (directory_.size() == kMaxVms) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kMaxVms, " VMs"));
  }
  if (std::any_of(directory_.begin(), directory_.end(),
                  [&entry](const DirectoryEntry& other) {
                    return std::memcmp(entry.uuid, other.uuid,
                                       sizeof(entry.uuid)) == 0;
                  })) {
    return absl::AlreadyExistsError("a VM of this UUID is in the image");
  }
  LU_RETURN_IF_ERROR(CheckRoom(size));
  *offset = used_bytes_;
  entry.offset = used_bytes_;
  entry.size = size;
  directory_.push_back(entry);
  digests_.emplace_back();
  used_bytes_ += size;
  ++writes_under_way_;
  return directory_.size() - 1;
}

absl::Status HandoverWriter::EndWrite(size_t index,
                                      absl::Span<const uint8_t> section) {
  absl::StatusOr<SectionDigest> digest = SectionDigest{};
  if (key_ != nullptr) digest = Sha256(section);
  absl::MutexLock lock(&mutex_);
  // After an error the section is in the directory without its digest: the
  // write stays under way, so that the image can't be finished.
  LU_RETURN_IF_ERROR(digest.status());
  digests_[index] = *digest;
  --writes_under_way_;
  return absl::OkStatus();
}

absl::Status HandoverWriter::AddVm(const VmRecord& vm,
                                   absl::string_view device_state,
                                   absl::Span<const AuxiliaryRam> auxiliary,
                                   const RamDigests* ram_digests) {
  LU_RETURN_IF_ERROR(
      Annotate(CheckVm(vm, device_state.size(), auxiliary), vm.name()));
  if (ram_digests != nullptr) {
    LU_RETURN_IF_ERROR(Annotate(CheckRamDigests(*ram_digests, vm), vm.name()));
  }
  const absl::StatusOr<std::string> vm_record = Serialize(vm);
  if (!vm_record.ok()) return Annotate(vm_record.status(), vm.name());

  uint64_t size = RecordSize(vm_record->size()) +
                  RecordSize(device_state.size()) + RecordSize(0);
  for (const AuxiliaryRam& ram : auxiliary) {
    size += RecordSize(ram.ByteSizeLong());
  }
  if (ram_digests != nullptr) size += RecordSize(ram_digests->ByteSizeLong());
  DirectoryEntry entry{};
  std::memcpy(entry.uuid, vm.uuid().data(), vm.uuid().size());
  std::memcpy(entry.name, vm.name().data(), vm.name().size());
  uint64_t offset = 0;
  const absl::StatusOr<size_t> index = Reserve(entry, size, &offset);
  if (!index.ok()) return Annotate(index.status(), vm.name());

  RecordWriter section(area_.data() + offset);
  section.PutBytes(RecordType::kVm, *vm_record);
  section.PutBytes(RecordType::kDeviceState, device_state);
  for (const AuxiliaryRam& ram : auxiliary) {
    section.PutMessage(RecordType::kAuxiliaryRam, ram);
  }
  if (ram_digests != nullptr) {
    section.PutMessage(RecordType::kRamDigests, *ram_digests);
  }
  section.PutBytes(RecordType::kEnd, "");
  return Annotate(EndWrite(*index, area_.subspan(offset, size)), vm.name());
}

absl::StatusOr<std::string> HandoverWriter::HostSection(
    const std::string& host_record, HandoverHeader* header) const {
  const absl::string_view directory(
      reinterpret_cast<const char*>(directory_.data()),
      directory_.size() * sizeof(DirectoryEntry));
  const uint64_t record_offset =
      RecordSize(host_record.size()) + RecordSize(directory.size());
  Authentication authentication;
  std::string signature;
  uint64_t size = record_offset + RecordSize(0);
  if (key_ != nullptr) {
    authentication.key_id = key_->id();
    authentication.sections = digests_;
    signature = SerializeAuthentication(authentication);
    size += RecordSize(signature.size());
  }

  std::string bytes(size, '\0');
  auto* const begin = reinterpret_cast<uint8_t*>(bytes.data());
  RecordWriter section(begin);
  section.PutBytes(RecordType::kHost, host_record);
  section.PutBytes(RecordType::kDirectory, directory);
  if (key_ != nullptr) {
    section.PutBytes(RecordType::kAuthentication, signature);
  }
  section.PutBytes(RecordType::kEnd, "");
  header->total_size = header->host_section_offset + size;
  header->header_crc32c = HeaderCrc32c(*header);
  if (key_ == nullptr) return bytes;

  // Once more, now that there is all that the MAC covers.
  LU_ASSIGN_OR_RETURN(
      authentication.mac,
      ComputeMac(*key_, *header, absl::MakeConstSpan(begin, size),
                 record_offset));
  RecordWriter(begin + record_offset)
      .PutBytes(RecordType::kAuthentication,
                SerializeAuthentication(authentication));
  return bytes;
}

absl::StatusOr<uint64_t> HandoverWriter::Finish(const HostRecord& host) {
  LU_RETURN_IF_ERROR(Annotate(CheckHostRecord(host), "host record"));
  const absl::StatusOr<std::string> host_record = Serialize(host);
  if (!host_record.ok()) return Annotate(host_record.status(), "host record");

  absl::MutexLock lock(&mutex_);
  if (writes_under_way_ != 0 || finished_) {
    return absl::FailedPreconditionError(
        finished_ ? "the image is finished" : "VMs are still being added");
  }
  HandoverHeader header{.magic = 0,
                        .version = version_,
                        .header_crc32c = 0,
                        .total_size = 0,
                        .host_section_offset = used_bytes_,
                        .reserved = {}};
  LU_ASSIGN_OR_RETURN(const std::string section,
                      HostSection(*host_record, &header));
  LU_RETURN_IF_ERROR(Annotate(CheckRoom(section.size()), "host section"));
  std::memcpy(area_.data() + used_bytes_, section.data(), section.size());
  std::memcpy(area_.data(), &header, sizeof(header));
  used_bytes_ = header.total_size;
  finished_ = true;
  return header.total_size;
}

absl::Status HandoverWriter::Commit() {
  absl::MutexLock lock(&mutex_);
  if (!finished_) {
    return absl::FailedPreconditionError("the image is not finished");
  }
  StoreMagic(kHandoverMagic);
  return absl::OkStatus();
}

void HandoverWriter::Revoke() { StoreMagic(0); }

void HandoverWriter::StoreMagic(uint64_t magic) {
  // One store that can't be seen halfway, nor before what it commits.
  std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(area_.data()))
      .store(magic, std::memory_order_seq_cst);
}

uint64_t StateAreaBytes(absl::Span<const VmStateEstimate> vms) {
  // For all that is in a VmRecord but the XML, extents' numbers, headers.
  constexpr uint64_t kSlackPerVm = 256 << 10;
  constexpr uint64_t kHostSection = 1 << 20;
  constexpr uint64_t kHugePage = 2 << 20;  // Maps the area with few faults.

  uint64_t total = sizeof(HandoverHeader) + kHostSection;
  for (const VmStateEstimate& vm : vms) {
    // Extents are whole pages; each costs up to 32 bytes beside its data.
    total += vm.domain_xml_bytes + vm.device_state_bytes +
             vm.auxiliary_ram_bytes + vm.auxiliary_ram_bytes / 64 +
             vm.ram_digests_bytes + kSlackPerVm + sizeof(DirectoryEntry) +
             sizeof(SectionDigest);
  }
  return CheckedAlignUp(total, kHugePage).value_or(total);
}

}  // namespace live_update
