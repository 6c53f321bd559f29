#include "host_update/libvirt/save_image.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "host_update/libvirt/domain_xml.h"

namespace live_update {
namespace {

struct SaveImageHeader {
  char magic[16];
  uint32_t version;
  uint32_t xml_bytes;  // With the NUL.
  uint32_t was_running;
  uint32_t format;
  uint32_t cookie_offset;
  uint32_t unused[14];
};
static_assert(sizeof(SaveImageHeader) == 92);

constexpr absl::string_view kMagic = "LibvirtQemudSave";
constexpr uint32_t kVersion = 2;
constexpr uint32_t kRawFormat = 0;

}  // namespace

absl::StatusOr<std::string> ComposeSaveImage(absl::string_view domain_xml,
                                             bool was_running,
                                             absl::string_view device_state) {
  if (domain_xml.empty() || domain_xml.size() > kMaxXmlBytes ||
      domain_xml.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "save image: no usable domain XML, ", domain_xml.size(), " bytes"));
  }
  SaveImageHeader header = {
      .magic = {},
      .version = kVersion,
      .xml_bytes = static_cast<uint32_t>(domain_xml.size() + 1),
      .was_running = was_running ? 1U : 0U,
      .format = kRawFormat,
      .cookie_offset = 0,
      .unused = {},
  };
  static_assert(kMagic.size() == sizeof(header.magic));
  std::memcpy(header.magic, kMagic.data(), kMagic.size());
  return absl::StrCat(
      absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header)),
      domain_xml, absl::string_view("\0", 1), device_state);
}

absl::Status WriteSaveImage(const std::string& path,
                            absl::string_view domain_xml, bool was_running,
                            absl::string_view device_state) {
  LU_ASSIGN_OR_RETURN(const std::string image,
                      ComposeSaveImage(domain_xml, was_running, device_state));
  return WriteFileAtomically(path, image);
}

}  // namespace live_update
