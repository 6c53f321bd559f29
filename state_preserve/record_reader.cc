#include "state_preserve/record_reader.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/checked_math.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "google/protobuf/io/coded_stream.h"

namespace live_update {
namespace {

bool IsKnown(RecordType type, uint32_t version) {
  switch (type) {
    case RecordType::kHost:
    case RecordType::kDirectory:
    case RecordType::kVm:
    case RecordType::kDeviceState:
    case RecordType::kAuxiliaryRam:
    case RecordType::kEnd:
    case RecordType::kRamDigests:
      return true;
    case RecordType::kAuthentication:
      return version >= kFirstAuthenticatedVersion;
    case RecordType::kInvalid:
      return false;
  }
  return false;
}

bool IsOptional(RecordType type) {
  return (static_cast<uint32_t>(type) & kOptionalRecordBit) != 0;
}

}  // namespace

absl::Status TornAt(uint64_t offset, absl::string_view what) {
  return absl::DataLossError(
      absl::StrFormat("at offset %#x: %s", offset, what));
}

absl::StatusOr<Record> RecordReader::Read() {
  const uint64_t offset = position_;
  if (!FitsWithin(offset, sizeof(RecordHeader), end_)) {
    return TornAt(offset, "the section ends without an end record");
  }
  RecordHeader header;
  std::memcpy(&header, image_.data() + offset, sizeof(header));
  if (header.header_crc32c != HeaderCrc32c(header)) {
    return TornAt(offset, "record header has a wrong CRC");
  }
  const uint64_t body_offset = offset + sizeof(header);
  // Asked of the bare size first, so that the padding can't wrap.
  if (!FitsWithin(body_offset, header.body_size, end_) ||
      !FitsWithin(body_offset, PaddedSize(header.body_size), end_)) {
    return TornAt(offset, absl::StrFormat(
                              "record of %d bytes ends after its section, %#x",
                              header.body_size, end_));
  }
  const absl::Span<const uint8_t> padded =
      image_.subspan(body_offset, PaddedSize(header.body_size));
  if (header.body_crc32c != Crc32c(padded)) {
    return TornAt(offset, "record body has a wrong CRC");
  }
  position_ = body_offset + padded.size();
  return Record{
      .type = static_cast<RecordType>(header.type),
      .offset = offset,
      .body = absl::string_view(reinterpret_cast<const char*>(padded.data()),
                                header.body_size)};
}

absl::StatusOr<Record> RecordReader::Next() {
  while (true) {
    LU_ASSIGN_OR_RETURN(const Record record, Read());
    if (record.type == RecordType::kInvalid) {
      return TornAt(record.offset, "record without a type");
    }
    if (IsKnown(record.type, version_)) {
      if (record.type == RecordType::kEnd &&
          (!record.body.empty() || position_ != end_)) {
        return TornAt(record.offset, "end record does not end its section");
      }
      return record;
    }
    if (!IsOptional(record.type)) {
      return absl::UnimplementedError(absl::StrFormat(
          "at offset %#x: record of unknown type %#x, which is not optional",
          record.offset, static_cast<uint32_t>(record.type)));
    }
  }
}

absl::Status ParseRecord(const Record& record, uint64_t limit_bytes,
                         google::protobuf::MessageLite* message) {
  if (record.body.size() > limit_bytes) {
    return TornAt(record.offset,
                  absl::StrCat("record of ", record.body.size(),
                               " bytes, more than ", limit_bytes));
  }
  google::protobuf::io::CodedInputStream stream(
      reinterpret_cast<const uint8_t*>(record.body.data()),
      static_cast<int>(record.body.size()));
  stream.SetRecursionLimit(kMaxMessageDepth);
  if (!message->ParseFromCodedStream(&stream) ||
      !stream.ConsumedEntireMessage()) {
    return TornAt(record.offset,
                  absl::StrCat("not a ", message->GetTypeName()));
  }
  return absl::OkStatus();
}

}  // namespace live_update
