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

 private:
  uint8_t* position_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HandoverWriter>> HandoverWriter::Create(
    absl::Span<uint8_t> area, uint32_t version) {
  if (version < kOldestHandoverVersion || version > kHandoverVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("can't write handover version ", version, ", only ",
                     kOldestHandoverVersion, " to ", kHandoverVersion));
  }
  if (area.size() < sizeof(HandoverHeader)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("state area of ", area.size(), " bytes, header needs ",
                     sizeof(HandoverHeader)));
  }
  if (reinterpret_cast<uintptr_t>(area.data()) % alignof(uint64_t) != 0) {
    return absl::InvalidArgumentError("state area is not aligned to 8 bytes");
  }
  // Using new to access a non-public constructor.
  auto writer = absl::WrapUnique(new HandoverWriter(area, version));
  writer->Revoke();
  return writer;
}

absl::Status HandoverWriter::CheckRoom(uint64_t size) const {
  const uint64_t free_bytes = area_.size() - used_bytes_;
  if (size <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "state area is full: ", size, " bytes needed, ", free_bytes, " free"));
}

absl::Status HandoverWriter::Reserve(DirectoryEntry entry, uint64_t size,
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
  used_bytes_ += size;
  ++writes_under_way_;
  return absl::OkStatus();
}

absl::Status HandoverWriter::AddVm(const VmRecord& vm,
                                   absl::string_view device_state,
                                   absl::Span<const AuxiliaryRam> auxiliary) {
  LU_RETURN_IF_ERROR(
      Annotate(CheckVm(vm, device_state.size(), auxiliary), vm.name()));
  const absl::StatusOr<std::string> vm_record = Serialize(vm);
  if (!vm_record.ok()) return Annotate(vm_record.status(), vm.name());

  uint64_t size = RecordSize(vm_record->size()) +
                  RecordSize(device_state.size()) + RecordSize(0);
  for (const AuxiliaryRam& ram : auxiliary) {
    size += RecordSize(ram.ByteSizeLong());
  }
  DirectoryEntry entry{};
  std::memcpy(entry.uuid, vm.uuid().data(), vm.uuid().size());
  std::memcpy(entry.name, vm.name().data(), vm.name().size());
  uint64_t offset = 0;
  LU_RETURN_IF_ERROR(Annotate(Reserve(entry, size, &offset), vm.name()));

  RecordWriter section(area_.data() + offset);
  section.PutBytes(RecordType::kVm, *vm_record);
  section.PutBytes(RecordType::kDeviceState, device_state);
  for (const AuxiliaryRam& ram : auxiliary) {
    // The size was taken above and is cached in the message.
    section.Put(
        RecordType::kAuxiliaryRam, static_cast<uint64_t>(ram.GetCachedSize()),
        [&ram](uint8_t* to) { ram.SerializeWithCachedSizesToArray(to); });
  }
  section.PutBytes(RecordType::kEnd, "");

  absl::MutexLock lock(&mutex_);
  --writes_under_way_;
  return absl::OkStatus();
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
  const absl::string_view directory(
      reinterpret_cast<const char*>(directory_.data()),
      directory_.size() * sizeof(DirectoryEntry));
  const uint64_t size = RecordSize(host_record->size()) +
                        RecordSize(directory.size()) + RecordSize(0);
  LU_RETURN_IF_ERROR(Annotate(CheckRoom(size), "host section"));

  RecordWriter section(area_.data() + used_bytes_);
  section.PutBytes(RecordType::kHost, *host_record);
  section.PutBytes(RecordType::kDirectory, directory);
  section.PutBytes(RecordType::kEnd, "");

  HandoverHeader header{.magic = 0,
                        .version = version_,
                        .header_crc32c = 0,
                        .total_size = used_bytes_ + size,
                        .host_section_offset = used_bytes_,
                        .reserved = {}};
  header.header_crc32c = HeaderCrc32c(header);
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
             kSlackPerVm + sizeof(DirectoryEntry);
  }
  return CheckedAlignUp(total, kHugePage).value_or(total);
}

}  // namespace live_update
