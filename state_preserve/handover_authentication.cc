#include "state_preserve/handover_authentication.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace live_update {
namespace {

// First in what is signed: a MAC of something else is none of this.
constexpr char kDomain[16] = "HANDOVER-MAC";

absl::string_view BytesOf(const void* bytes, size_t size) {
  return {static_cast<const char*>(bytes), size};
}

}  // namespace

std::string SerializeAuthentication(const Authentication& authentication) {
  AuthenticationHead head{.algorithm = kHmacSha256};
  std::copy(authentication.key_id.begin(), authentication.key_id.end(),
            head.key_id);
  std::copy(authentication.mac.begin(), authentication.mac.end(), head.mac);
  return absl::StrCat(
      BytesOf(&head, sizeof(head)),
      BytesOf(authentication.sections.data(),
              authentication.sections.size() * sizeof(SectionDigest)));
}

absl::StatusOr<Authentication> ParseAuthentication(absl::string_view body,
                                                   uint64_t vm_count) {
  AuthenticationHead head;
  if (body.size() < sizeof(head)) {
    return absl::DataLossError(
        absl::StrCat("authentication record of ", body.size(), " bytes"));
  }
  std::memcpy(&head, body.data(), sizeof(head));
  if (head.algorithm != kHmacSha256) {
    return absl::UnimplementedError(
        absl::StrCat("authenticated by algorithm ", head.algorithm,
                     ", which this program does not know"));
  }
  body.remove_prefix(sizeof(head));
  if (body.size() % sizeof(SectionDigest) != 0 ||
      body.size() / sizeof(SectionDigest) != vm_count) {
    return absl::DataLossError(
        absl::StrCat("authentication record with ", body.size(),
                     " bytes of digests for ", vm_count, " VMs"));
  }
  Authentication authentication;
  std::copy(std::begin(head.key_id), std::end(head.key_id),
            authentication.key_id.begin());
  std::copy(std::begin(head.mac), std::end(head.mac),
            authentication.mac.begin());
  authentication.sections.resize(vm_count);
  if (vm_count > 0) {
    std::memcpy(authentication.sections.data(), body.data(), body.size());
  }
  return authentication;
}

absl::StatusOr<Mac> ComputeMac(const HandoverKey& key,
                               const HandoverHeader& header,
                               absl::Span<const uint8_t> host_section,
                               uint64_t record_offset) {
  HandoverHeader signed_header = header;
  signed_header.magic = kHandoverMagic;
  std::string message =
      absl::StrCat(BytesOf(kDomain, sizeof(kDomain)),
                   BytesOf(&signed_header, sizeof(signed_header)),
                   BytesOf(host_section.data(), host_section.size()));
  char* const record =
      message.data() + sizeof(kDomain) + sizeof(signed_header) + record_offset;
  std::memset(record + offsetof(RecordHeader, body_crc32c), 0,
              sizeof(RecordHeader::body_crc32c));
  std::memset(record + offsetof(RecordHeader, header_crc32c), 0,
              sizeof(RecordHeader::header_crc32c));
  std::memset(record + sizeof(RecordHeader) + offsetof(AuthenticationHead, mac),
              0, sizeof(AuthenticationHead::mac));
  return key.MacOf(message);
}

}  // namespace live_update
