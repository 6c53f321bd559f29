// Hostile bytes to records: the part of reading that every section shares.

#ifndef STATE_PRESERVE_RECORD_READER_H_
#define STATE_PRESERVE_RECORD_READER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/message_lite.h"
#include "state_preserve/format.h"

namespace live_update {

struct Record {
  RecordType type = RecordType::kInvalid;
  uint64_t offset = 0;     // Of its header in the image.
  absl::string_view body;  // Verified; lies in the image.
};

// Walks the records of one section.
class RecordReader {
 public:
  // The section is [begin, end) of `image`, which the caller has checked.
  // `version` says which record types there are.
  RecordReader(absl::Span<const uint8_t> image, uint64_t begin, uint64_t end,
               uint32_t version)
      : image_(image), position_(begin), end_(end), version_(version) {}

  // The next record, with header and body verified. Skips optional records of
  // unknown type. After kEnd, which must fill the section, don't call it again.
  // kDataLoss: torn, or no kEnd; kUnimplemented: unknown and mandatory.
  absl::StatusOr<Record> Next();

 private:
  absl::StatusOr<Record> Read();

  absl::Span<const uint8_t> image_;
  uint64_t position_;
  uint64_t end_;
  uint32_t version_;
};

// kDataLoss that starts with where.
absl::Status TornAt(uint64_t offset, absl::string_view what);

// Parses the body of `record`, of at most `limit_bytes`, with a limit on
// nesting.
absl::Status ParseRecord(const Record& record, uint64_t limit_bytes,
                         google::protobuf::MessageLite* message);

}  // namespace live_update

#endif  // STATE_PRESERVE_RECORD_READER_H_
