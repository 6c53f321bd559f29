#include "loader/kernel_reading.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "base/file.h"
#include "loader/byte_reader.h"
#include "loader/kernel_reading.pb.h"

namespace live_update::loader {
namespace {

// A distribution's kernel is 8 to 15 MiB.
constexpr uint64_t kMaxKernelBytes = uint64_t{256} << 20;

using Record = KernelReadingRecord;

void Pack(const absl::Status& status, Record::Failure& record) {
  record.set_code(static_cast<int>(status.code()));
  record.set_message(std::string(status.message()));
}

absl::Status Unpack(const Record::Failure& record) {
  absl::Status status(static_cast<absl::StatusCode>(record.code()),
                      record.message());
  // A code that there isn't is kUnknown.
  return status.ok() ? absl::UnknownError("no reason given") : status;
}

void Pack(const BzImage& image, Record::BzImage& record) {
  record.set_protocol(image.protocol);
  record.set_version(image.version);
  record.set_is_64_bit(image.is_64_bit);
  record.set_loadable_above_4g(image.loadable_above_4g);
  record.set_loaded_high(image.loaded_high);
  record.set_five_level_paging(image.five_level_paging);
  record.set_relocatable(image.relocatable);
  record.set_command_line_bytes(image.command_line_bytes);
  record.set_setup_bytes(image.setup_bytes);
  record.set_kernel_bytes(image.kernel_bytes);
  record.set_payload_offset(image.payload_offset);
  record.set_payload_bytes(image.payload_bytes);
  record.set_init_bytes(image.init_bytes);
  record.set_preferred_address(image.preferred_address);
}

absl::StatusOr<BzImage> Unpack(const Record::BzImage& record) {
  if (record.protocol() > std::numeric_limits<uint16_t>::max()) {
    return absl::InvalidArgumentError("a boot protocol that there isn't");
  }
  return BzImage{.protocol = static_cast<uint16_t>(record.protocol()),
                 .version = record.version(),
                 .is_64_bit = record.is_64_bit(),
                 .loadable_above_4g = record.loadable_above_4g(),
                 .loaded_high = record.loaded_high(),
                 .five_level_paging = record.five_level_paging(),
                 .relocatable = record.relocatable(),
                 .command_line_bytes = record.command_line_bytes(),
                 .setup_bytes = record.setup_bytes(),
                 .kernel_bytes = record.kernel_bytes(),
                 .payload_offset = record.payload_offset(),
                 .payload_bytes = record.payload_bytes(),
                 .init_bytes = record.init_bytes(),
                 .preferred_address = record.preferred_address()};
}

absl::StatusOr<KernelImage> Unpack(const Record::Image& record) {
  KernelImage image;
  image.file_bytes = record.file_bytes();
  if (record.has_bzimage()) {
    absl::StatusOr<BzImage> bzimage = Unpack(record.bzimage());
    if (!bzimage.ok()) return bzimage.status();
    image.bzimage = *std::move(bzimage);
  } else if (record.has_elf()) {
    image.elf = ElfKernel{.architecture = record.elf().architecture(),
                          .build_id = record.elf().build_id()};
  } else {
    return absl::InvalidArgumentError("an image of no format");
  }
  return image;
}

KernelFacts Unpack(const Record::Facts& record) {
  return {.banner = record.banner(),
          .release = record.release(),
          .build_id = record.build_id(),
          .compression = record.compression(),
          .embedded_config = record.embedded_config(),
          .abi_strings = {record.abi_strings().begin(),
                          record.abi_strings().end()}};
}

}  // namespace

KernelReading ReadKernelFile(const UniqueFd& file) {
  KernelReading reading;
  const absl::StatusOr<std::string> bytes = ReadAll(file, kMaxKernelBytes);
  reading.image = bytes.ok() ? ReadKernelImage(AsBytes(*bytes))
                             : absl::StatusOr<KernelImage>(bytes.status());
  reading.facts = reading.image.ok()
                      ? ReadKernelFacts(AsBytes(*bytes), *reading.image)
                      : absl::StatusOr<KernelFacts>(reading.image.status());
  return reading;
}

std::string PackReading(const KernelReading& reading) {
  Record record;
  if (!reading.image.ok()) {
    Pack(reading.image.status(), *record.mutable_no_image());
  } else {
    Record::Image& image = *record.mutable_image();
    image.set_file_bytes(reading.image->file_bytes);
    if (reading.image->bzimage.has_value()) {
      Pack(*reading.image->bzimage, *image.mutable_bzimage());
    } else if (reading.image->elf.has_value()) {
      image.mutable_elf()->set_architecture(reading.image->elf->architecture);
      image.mutable_elf()->set_build_id(reading.image->elf->build_id);
    }
  }
  if (!reading.facts.ok()) {
    Pack(reading.facts.status(), *record.mutable_no_facts());
  } else {
    Record::Facts& facts = *record.mutable_facts();
    facts.set_banner(reading.facts->banner);
    facts.set_release(reading.facts->release);
    facts.set_build_id(reading.facts->build_id);
    facts.set_compression(reading.facts->compression);
    facts.set_embedded_config(reading.facts->embedded_config);
    for (const std::string& abi : reading.facts->abi_strings) {
      facts.add_abi_strings(abi);
    }
  }
  return record.SerializeAsString();
}

absl::StatusOr<KernelReading> UnpackReading(absl::string_view bytes) {
  Record record;
  if (bytes.size() > std::numeric_limits<int>::max() ||
      !record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("not what is read out of a kernel");
  }
  KernelReading reading;
  if (record.has_image()) {
    reading.image = Unpack(record.image());
  } else {
    reading.image = Unpack(record.no_image());
  }
  if (record.has_facts() && reading.image.ok()) {
    reading.facts = Unpack(record.facts());
  } else if (record.has_no_facts()) {
    reading.facts = Unpack(record.no_facts());
  }
  return reading;
}

}  // namespace live_update::loader
