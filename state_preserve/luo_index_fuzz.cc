// Feeds arbitrary bytes to the reader of the luo backend's index, as they are
// and with their CRCs repaired. What it accepts can be written, and reads the
// same again.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "absl/types/span.h"
#include "base/crc32c.h"
#include "google/protobuf/stubs/logging.h"
#include "state_preserve/luo_index.h"

namespace live_update {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

void ReadAndRewrite(absl::Span<const uint8_t> bytes) {
  const absl::StatusOr<LuoIndex> index = ReadLuoIndex(bytes);
  if (!index.ok()) return;
  // Unknown fields are carried along, so it takes no more room than it had,
  // but for varints that were shorter than they can be written.
  std::vector<uint8_t> area(2 * bytes.size() + 4096);
  Require(WriteLuoIndex(*index, absl::MakeSpan(area)).ok(),
          "accepted, but can't be written");
  const absl::StatusOr<LuoIndex> again = ReadLuoIndex(area);
  Require(again.ok(), "written, but not accepted");
  Require(again->SerializeAsString() == index->SerializeAsString(),
          "the index changed");
}

void RepairCrcs(absl::Span<uint8_t> bytes) {
  LuoIndexHeader header;
  if (bytes.size() < sizeof(header)) return;
  std::memcpy(&header, bytes.data(), sizeof(header));
  header.magic = kLuoIndexMagic;
  header.version = kLuoIndexVersion;
  header.body_size =
      std::min<uint64_t>(header.body_size, bytes.size() - sizeof(header));
  header.body_crc32c = Crc32c(bytes.subspan(sizeof(header), header.body_size));
  header.header_crc32c = 0;
  header.header_crc32c = Crc32c(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(&header), sizeof(header)));
  std::memcpy(bytes.data(), &header, sizeof(header));
}

}  // namespace
}  // namespace live_update

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  google::protobuf::SetLogHandler(nullptr);  // A line for each bad string.
  std::vector<uint8_t> bytes(data, data + size);
  live_update::ReadAndRewrite(bytes);
  live_update::RepairCrcs(absl::MakeSpan(bytes));
  live_update::ReadAndRewrite(bytes);
  return 0;
}
