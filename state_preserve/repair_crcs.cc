#include "state_preserve/repair_crcs.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked_math.h"
#include "base/crc32c.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_authentication.h"

namespace live_update {
namespace {

// Repairs records from `offset` up to kEnd or the first that doesn't fit.
// Returns the directory's entries, if one comes by.
std::vector<DirectoryEntry> RepairSection(absl::Span<uint8_t> image,
                                          uint64_t offset) {
  std::vector<DirectoryEntry> directory;
  RecordHeader header;
  while (FitsWithin(offset, sizeof(header), image.size())) {
    std::memcpy(&header, image.data() + offset, sizeof(header));
    const uint64_t body = offset + sizeof(header);
    if (!FitsWithin(body, header.body_size, image.size()) ||
        !FitsWithin(body, PaddedSize(header.body_size), image.size())) {
      break;
    }
    header.body_crc32c =
        Crc32c(image.subspan(body, PaddedSize(header.body_size)));
    header.header_crc32c = HeaderCrc32c(header);
    std::memcpy(image.data() + offset, &header, sizeof(header));
    offset = body + PaddedSize(header.body_size);

    const auto type = static_cast<RecordType>(header.type);
    if (type == RecordType::kDirectory) {
      directory.resize(
          std::min(header.body_size / sizeof(DirectoryEntry), kMaxVms));
      if (!directory.empty()) {
        std::memcpy(directory.data(), image.data() + body,
                    directory.size() * sizeof(DirectoryEntry));
      }
    }
    if (type == RecordType::kEnd) break;
  }
  return directory;
}

}  // namespace

void RepairCrcs(absl::Span<uint8_t> image) {
  HandoverHeader header;
  if (image.size() < sizeof(header)) return;
  std::memcpy(&header, image.data(), sizeof(header));
  header.magic = kHandoverMagic;
  header.header_crc32c = HeaderCrc32c(header);
  std::memcpy(image.data(), &header, sizeof(header));

  const std::vector<DirectoryEntry> directory =
      RepairSection(image, header.host_section_offset);
  uint64_t free_from = sizeof(header);
  for (const DirectoryEntry& entry : directory) {
    // Only what a reader would look at; else hostile entries cost their square.
    if (entry.offset < free_from ||
        !FitsWithin(entry.offset, entry.size, image.size())) {
      break;
    }
    RepairSection(image.subspan(0, entry.offset + entry.size), entry.offset);
    free_from = entry.offset + entry.size;
  }
}

void RepairCrcsAndMac(const HandoverKey& key, absl::Span<uint8_t> image) {
  RepairCrcs(image);
  HandoverHeader header;
  if (image.size() < sizeof(header)) return;
  std::memcpy(&header, image.data(), sizeof(header));
  if (header.total_size > image.size() ||
      header.host_section_offset > header.total_size) {
    return;
  }
  const absl::Span<uint8_t> section =
      image.subspan(header.host_section_offset,
                    header.total_size - header.host_section_offset);
  std::vector<DirectoryEntry> directory;
  RecordHeader record;
  uint64_t offset = 0;
  while (FitsWithin(offset, sizeof(record), section.size())) {
    std::memcpy(&record, section.data() + offset, sizeof(record));
    const uint64_t body = offset + sizeof(record);
    if (!FitsWithin(body, record.body_size, section.size()) ||
        !FitsWithin(body, PaddedSize(record.body_size), section.size())) {
      return;
    }
    if (record.type == static_cast<uint32_t>(RecordType::kDirectory)) {
      directory.resize(
          std::min(record.body_size / sizeof(DirectoryEntry), kMaxVms));
      if (!directory.empty()) {
        std::memcpy(directory.data(), section.data() + body,
                    directory.size() * sizeof(DirectoryEntry));
      }
    }
    if (record.type == static_cast<uint32_t>(RecordType::kAuthentication)) {
      Authentication authentication{.key_id = key.id()};
      for (const DirectoryEntry& entry : directory) {
        if (!FitsWithin(entry.offset, entry.size, image.size())) return;
        authentication.sections.push_back(
            Sha256(image.subspan(entry.offset, entry.size)).value());
      }
      const auto store = [&] {
        const std::string bytes = SerializeAuthentication(authentication);
        if (bytes.size() != record.body_size) return false;
        std::memcpy(section.data() + body, bytes.data(), bytes.size());
        return true;
      };
      if (!store()) return;
      authentication.mac = ComputeMac(key, header, section, offset).value();
      (void)store();
      RepairSection(image, header.host_section_offset);
      return;
    }
    offset = body + PaddedSize(record.body_size);
  }
}

}  // namespace live_update
