#include "state_preserve/handover_reader.h"

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/format.h"
#include "state_preserve/repair_crcs.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

using Image = std::vector<uint8_t>;

constexpr uint64_t kFirstSection = sizeof(HandoverHeader);

Image ExampleImage() {
  absl::StatusOr<Image> image = WriteHandover(ExampleHost(), ExampleVms());
  EXPECT_THAT(image, IsOk());
  return std::move(image).value();
}

template <typename T>
T Get(const Image& image, uint64_t offset) {
  T value;
  std::memcpy(&value, image.data() + offset, sizeof(value));
  return value;
}

template <typename T>
void Put(const T& value, uint64_t offset, Image* image) {
  std::memcpy(image->data() + offset, &value, sizeof(value));
}

HandoverHeader GetHeader(const Image& image) {
  return Get<HandoverHeader>(image, 0);
}

// Offset of the header of the first record of `type` at or after `offset`.
uint64_t FindRecord(const Image& image, uint64_t offset, RecordType type) {
  while (true) {
    const auto header = Get<RecordHeader>(image, offset);
    if (header.type == static_cast<uint32_t>(type)) return offset;
    offset += RecordSize(header.body_size);
  }
}

uint64_t DirectoryOffset(const Image& image) {
  return FindRecord(image, GetHeader(image).host_section_offset,
                    RecordType::kDirectory) +
         sizeof(RecordHeader);
}

// The example after `change`, with CRCs that hold.
Image Changed(const std::function<void(Image*)>& change) {
  Image image = ExampleImage();
  change(&image);
  RepairCrcs(absl::MakeSpan(image));
  return image;
}

// The same for one record's header.
Image WithRecord(uint64_t offset,
                 const std::function<void(RecordHeader*)>& change) {
  return Changed([&](Image* image) {
    auto header = Get<RecordHeader>(*image, offset);
    change(&header);
    Put(header, offset, image);
  });
}

Image WithHeader(const std::function<void(HandoverHeader*)>& change) {
  return Changed([&](Image* image) {
    HandoverHeader header = GetHeader(*image);
    change(&header);
    Put(header, 0, image);
  });
}

Image WithDirectory(const std::function<void(DirectoryEntry*)>& change) {
  return Changed([&](Image* image) {
    const uint64_t offset = DirectoryOffset(*image);
    std::vector<DirectoryEntry> entries(ExampleVms().size());
    std::memcpy(entries.data(), image->data() + offset,
                entries.size() * sizeof(DirectoryEntry));
    change(entries.data());
    std::memcpy(image->data() + offset, entries.data(),
                entries.size() * sizeof(DirectoryEntry));
  });
}

absl::Status ReadFirstVm(const Image& image) {
  LU_ASSIGN_OR_RETURN(const HandoverReader reader, HandoverReader::Open(image));
  return reader.ReadVm(0).status();
}

void ExpectExample(const Image& image,
                   const std::vector<ExampleVm>& expected = ExampleVms(),
                   const HandoverKey* key = nullptr) {
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image, key));
  EXPECT_EQ(reader.host().DebugString(), ExampleHost().DebugString());
  ASSERT_THAT(reader.vms(), SizeIs(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(reader.vms()[i].name, expected[i].record.name());
    EXPECT_EQ(reader.vms()[i].uuid, expected[i].record.uuid());
    ASSERT_OK_AND_ASSIGN(const IncomingVm vm, reader.ReadVm(i));
    EXPECT_EQ(vm.record.DebugString(), expected[i].record.DebugString());
    EXPECT_EQ(vm.device_state, expected[i].device_state);
    ASSERT_THAT(vm.auxiliary, SizeIs(expected[i].auxiliary.size()));
    for (size_t block = 0; block < vm.auxiliary.size(); ++block) {
      EXPECT_EQ(vm.auxiliary[block].DebugString(),
                expected[i].auxiliary[block].DebugString());
    }
    ASSERT_EQ(vm.ram_digests.has_value(), expected[i].ram_digests.has_value());
    if (vm.ram_digests.has_value()) {
      EXPECT_EQ(vm.ram_digests->DebugString(),
                expected[i].ram_digests->DebugString());
    }
  }
}

Image GoldenImage(absl::string_view name) {
  const absl::StatusOr<std::string> golden =
      ReadFile(absl::StrCat("state_preserve/testdata/", name), 1 << 20);
  EXPECT_THAT(golden, IsOk());
  return golden.ok() ? Image(golden->begin(), golden->end()) : Image();
}

// Types of all records of the section at `offset`, kEnd included.
std::vector<uint32_t> RecordTypes(const Image& image, uint64_t offset) {
  std::vector<uint32_t> types;
  while (types.empty() ||
         types.back() != static_cast<uint32_t>(RecordType::kEnd)) {
    const auto header = Get<RecordHeader>(image, offset);
    types.push_back(header.type);
    offset += RecordSize(header.body_size);
  }
  return types;
}

TEST(HandoverReaderTest, ReadsWhatWasWritten) { ExpectExample(ExampleImage()); }

// Images of every version that was ever shipped, and is still to be read.
TEST(HandoverReaderTest, ReadsTheGoldenImageOfVersion1) {
  const Image golden = GoldenImage("v1.handover");
  EXPECT_EQ(GetHeader(golden).version, 1);
  ExpectExample(golden);
}

TEST(HandoverReaderTest, ReadsTheGoldenImageOfVersion2) {
  const Image golden = GoldenImage("v2.handover");
  EXPECT_EQ(GetHeader(golden).version, 2);
  ExpectExample(golden, ExampleVmsWithDigests());
}

TEST(HandoverReaderTest, ReadsTheAuthenticatedGoldenImageOfVersion2) {
  const Image golden = GoldenImage("v2_authenticated.handover");
  EXPECT_EQ(GetHeader(golden).version, 2);
  const HandoverKey key = ExampleKey();
  ExpectExample(golden, ExampleVmsWithDigests(), &key);
}

// What a program that knows version 1 alone goes by: mandatory records only of
// the types it knows, and RAM digests it skips.
TEST(HandoverReaderTest, AnImageWrittenAsVersion1KeepsTheRulesOfVersion1) {
  ASSERT_OK_AND_ASSIGN(
      const Image image,
      WriteHandover(ExampleHost(), ExampleVmsWithDigests(), {.version = 1}));
  const HandoverHeader header = GetHeader(image);
  EXPECT_EQ(header.version, 1);
  EXPECT_THAT(RecordTypes(image, header.host_section_offset),
              ElementsAre(1, 2, 6));
  EXPECT_THAT(RecordTypes(image, kFirstSection),
              ElementsAre(3, 4, 5, 5, 5, 8 | kOptionalRecordBit, 6));
  ExpectExample(image, ExampleVmsWithDigests());
}

TEST(HandoverReaderTest, WithoutDigestsVersion1IsWrittenAsItAlwaysWas) {
  ASSERT_OK_AND_ASSIGN(
      const Image image,
      WriteHandover(ExampleHost(), ExampleVms(), {.version = 1}));
  EXPECT_EQ(image, GoldenImage("v1.handover"));
}

TEST(HandoverReaderTest, ReadsAnImageOfNoVms) {
  ASSERT_OK_AND_ASSIGN(const Image image, WriteHandover(ExampleHost(), {}));
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image));
  EXPECT_THAT(reader.vms(), SizeIs(0));
}

TEST(HandoverReaderTest, IgnoresWhatLiesBehindTheImage) {
  Image image = ExampleImage();
  image.resize(image.size() + 5000, 0xee);
  ExpectExample(image);
}

TEST(HandoverReaderTest, DeviceStateIsNotCopied) {
  const Image image = ExampleImage();
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image));
  ASSERT_OK_AND_ASSIGN(const IncomingVm vm, reader.ReadVm(0));
  const auto* data = reinterpret_cast<const uint8_t*>(vm.device_state.data());
  EXPECT_GE(data, image.data());
  EXPECT_LT(data, image.data() + image.size());
}

// --- Refusals of the whole image ---

TEST(HandoverReaderTest, RefusesWhatIsTooShort) {
  for (const size_t size : {0, 8, 63}) {
    EXPECT_THAT(
        HandoverReader::Open(
            absl::MakeConstSpan(ExampleImage()).subspan(0, size)),
        StatusIs(absl::StatusCode::kDataLoss,
                 HasSubstr(absl::StrCat("too short, ", size, " bytes"))));
  }
}

TEST(HandoverReaderTest, RefusesWhatIsNotCommitted) {
  Image image = ExampleImage();
  Put(uint64_t{0}, 0, &image);
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("its writer did not finish")));
}

TEST(HandoverReaderTest, RefusesAForeignMagic) {
  Image image = ExampleImage();
  Put(uint64_t{0x1234}, 0, &image);
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("magic 0x0000000000001234")));
}

TEST(HandoverReaderTest, RefusesATornHeader) {
  Image image = ExampleImage();
  image[offsetof(HandoverHeader, total_size)] ^= 8;
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("at offset 0: header has a wrong CRC")));
}

TEST(HandoverReaderTest, RefusesANewerVersion) {
  const Image image =
      WithHeader([](HandoverHeader* h) { h->version = kHandoverVersion + 1; });
  EXPECT_THAT(
      HandoverReader::Open(image),
      StatusIs(absl::StatusCode::kUnimplemented,
               HasSubstr(absl::StrCat("version ", kHandoverVersion + 1,
                                      ", newer than this program reads"))));
}

TEST(HandoverReaderTest, RefusesAVersionThatIsTooOld) {
  const Image image = WithHeader(
      [](HandoverHeader* h) { h->version = kOldestHandoverVersion - 1; });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("older")));
}

TEST(HandoverReaderTest, RefusesATruncatedImage) {
  Image image = ExampleImage();
  image.pop_back();
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("truncated")));
}

TEST(HandoverReaderTest, RefusesAHostSectionOutsideTheImage) {
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{65}, uint64_t{1} << 40, ~uint64_t{7}}) {
    const Image image = WithHeader(
        [offset](HandoverHeader* h) { h->host_section_offset = offset; });
    EXPECT_THAT(HandoverReader::Open(image),
                StatusIs(absl::StatusCode::kDataLoss,
                         HasSubstr(absl::StrFormat("host section at %#x is "
                                                   "outside",
                                                   offset))));
  }
}

TEST(HandoverReaderTest, RefusesATornHostRecordAndSaysWhere) {
  Image image = ExampleImage();
  const uint64_t offset = GetHeader(image).host_section_offset;
  image[offset + sizeof(RecordHeader)] ^= 1;
  EXPECT_THAT(
      HandoverReader::Open(image),
      StatusIs(absl::StatusCode::kDataLoss,
               HasSubstr(absl::StrFormat(
                   "at offset %#x: record body has a wrong CRC", offset))));
}

TEST(HandoverReaderTest, RefusesATornDirectory) {
  Image image = ExampleImage();
  image[DirectoryOffset(image)] ^= 1;
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("record body has a wrong CRC")));
}

TEST(HandoverReaderTest, RefusesAHostRecordThatIsNoMessage) {
  const Image image = Changed([](Image* i) {
    (*i)[GetHeader(*i).host_section_offset + sizeof(RecordHeader)] = 0xff;
  });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("not a live_update.HostRecord")));
}

TEST(HandoverReaderTest, RefusesAHostRecordThatBelongsToNoHost) {
  const Image image = Changed([](Image* i) {
    // The tag of host_id becomes that of an unknown field of the same kind.
    const uint64_t body =
        GetHeader(*i).host_section_offset + sizeof(RecordHeader);
    const uint64_t host_id_tag = body + 2 + 36;
    ASSERT_EQ((*i)[host_id_tag], (HostRecord::kHostIdFieldNumber << 3) | 2);
    (*i)[host_id_tag] = (15 << 3) | 2;
  });
  EXPECT_THAT(
      HandoverReader::Open(image),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("host_id: empty")));
}

TEST(HandoverReaderTest, RefusesASectionOutsideTheImage) {
  const Image image = WithDirectory(
      [](DirectoryEntry* entries) { entries[1].size = ~uint64_t{0}; });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("directory entry 1: section at")));
}

TEST(HandoverReaderTest, RefusesSectionsThatOverlap) {
  const Image image = WithDirectory(
      [](DirectoryEntry* entries) { entries[1].offset = kFirstSection; });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("directory entry 1: section at 0x40+")));
}

TEST(HandoverReaderTest, RefusesTwoVmsOfOneUuid) {
  const Image image = WithDirectory([](DirectoryEntry* entries) {
    std::memcpy(entries[1].uuid, entries[0].uuid, sizeof(entries[0].uuid));
  });
  EXPECT_THAT(
      HandoverReader::Open(image),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the UUID of another")));
}

TEST(HandoverReaderTest, RefusesAVmWithoutAName) {
  const Image image = WithDirectory([](DirectoryEntry* entries) {
    std::memset(entries[0].name, 0, sizeof(entries[0].name));
  });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no name")));
}

TEST(HandoverReaderTest, RefusesADirectoryOfHalfAnEntry) {
  const Image example = ExampleImage();
  const Image image =
      WithRecord(DirectoryOffset(example) - sizeof(RecordHeader),
                 [](RecordHeader* header) { header->body_size -= 1; });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("directory of 623 bytes")));
}

TEST(HandoverReaderTest, RefusesAnUnknownMandatoryRecordOfTheHost) {
  const Image example = ExampleImage();
  const Image image =
      WithRecord(DirectoryOffset(example) - sizeof(RecordHeader),
                 [](RecordHeader* header) { header->type = 99; });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("unknown type 0x63, which is not optional")));
}

// --- Refusals of one VM ---

TEST(HandoverReaderTest, ATornVmCostsOnlyItself) {
  Image image = ExampleImage();
  image[FindRecord(image, kFirstSection, RecordType::kDeviceState) +
        sizeof(RecordHeader) + 500] ^= 1;
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image));
  EXPECT_EQ(reader.vms()[0].name, "web-1");
  EXPECT_THAT(reader.ReadVm(0),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("record body has a wrong CRC")));
  EXPECT_THAT(reader.ReadVm(1), IsOk());
}

TEST(HandoverReaderTest, RefusesARecordThatEndsAfterItsSection) {
  for (const uint64_t size : {uint64_t{1} << 20, ~uint64_t{0}, ~uint64_t{63}}) {
    Image image = ExampleImage();
    auto header = Get<RecordHeader>(image, kFirstSection);
    header.body_size = size;
    header.header_crc32c = HeaderCrc32c(header);
    Put(header, kFirstSection, &image);
    EXPECT_THAT(ReadFirstVm(image),
                StatusIs(absl::StatusCode::kDataLoss,
                         HasSubstr("bytes ends after its section")));
  }
}

TEST(HandoverReaderTest, RefusesAnUnknownMandatoryRecord) {
  const Image example = ExampleImage();
  const Image image =
      WithRecord(FindRecord(example, kFirstSection, RecordType::kAuxiliaryRam),
                 [](RecordHeader* header) { header->type = 99; });
  EXPECT_THAT(ReadFirstVm(image), StatusIs(absl::StatusCode::kUnimplemented,
                                           HasSubstr("unknown type 0x63")));
}

TEST(HandoverReaderTest, RefusesARecordWithoutAType) {
  const Image image =
      WithRecord(kFirstSection, [](RecordHeader* header) { header->type = 0; });
  EXPECT_THAT(ReadFirstVm(image), StatusIs(absl::StatusCode::kDataLoss,
                                           HasSubstr("without a type")));
}

// An optional record in place of the empty vga.vram's: skipped, so what is
// missed is the block's contents, not the record.
TEST(HandoverReaderTest, SkipsAnUnknownOptionalRecord) {
  const Image image = Changed([](Image* i) {
    // The last auxiliary record becomes one with the kEnd record behind it.
    uint64_t offset = kFirstSection;
    for (int block = 0; block < 3; ++block) {
      offset = FindRecord(*i, offset, RecordType::kAuxiliaryRam);
      if (block < 2) {
        offset += RecordSize(Get<RecordHeader>(*i, offset).body_size);
      }
    }
    auto header = Get<RecordHeader>(*i, offset);
    header.type = 99 | kOptionalRecordBit;
    Put(header, offset, i);
  });
  EXPECT_THAT(ReadFirstVm(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("vga.vram: its contents are missing")));
}

TEST(HandoverReaderTest, ReadsAVmDespiteAnUnknownOptionalRecord) {
  // db-1's section, the second and last, grows by an optional record after its
  // device state: everything behind moves.
  Image image = ExampleImage();
  const HandoverHeader old_header = GetHeader(image);
  const uint64_t end_record = old_header.host_section_offset - RecordSize(0);
  Image optional(RecordSize(3), 0);
  Put(RecordHeader{.type = 99 | kOptionalRecordBit,
                   .reserved = 0,
                   .body_size = 3,
                   .body_crc32c = 0,
                   .header_crc32c = 0},
      0, &optional);
  image.insert(image.begin() + static_cast<ptrdiff_t>(end_record),
               optional.begin(), optional.end());
  HandoverHeader header = old_header;
  header.host_section_offset += optional.size();
  header.total_size += optional.size();
  Put(header, 0, &image);
  const uint64_t entry_offset = DirectoryOffset(image) + sizeof(DirectoryEntry);
  auto entry = Get<DirectoryEntry>(image, entry_offset);
  entry.size += optional.size();
  Put(entry, entry_offset, &image);
  RepairCrcs(absl::MakeSpan(image));

  ExpectExample(image);
}

TEST(HandoverReaderTest, RefusesASectionWithoutAnEnd) {
  const Image image = WithDirectory(
      [](DirectoryEntry* entries) { entries[0].size -= RecordSize(0); });
  EXPECT_THAT(ReadFirstVm(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("ends without an end record")));
}

TEST(HandoverReaderTest, RefusesAnEndBeforeTheSectionsEnd) {
  const Image image = WithDirectory([](DirectoryEntry* entries) {
    entries[0].size += entries[1].size;
    entries[1].offset += entries[1].size;
    entries[1].size = 0;
  });
  EXPECT_THAT(ReadFirstVm(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("end record does not end its section")));
}

TEST(HandoverReaderTest, RefusesAVmThatTheDirectoryDoesNotName) {
  const Image image =
      WithDirectory([](DirectoryEntry* entries) { entries[0].name[0] = 'v'; });
  EXPECT_THAT(ReadFirstVm(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("not the VM that the directory names")));
}

TEST(HandoverReaderTest, RefusesAVmWithoutDeviceState) {
  const Image example = ExampleImage();
  const Image image = WithRecord(
      FindRecord(example, kFirstSection, RecordType::kDeviceState),
      [](RecordHeader* header) {
        header->type = static_cast<uint32_t>(RecordType::kAuxiliaryRam);
      });
  EXPECT_THAT(ReadFirstVm(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("expected the device state record")));
}

TEST(HandoverReaderTest, RefusesHostRecordsInAVmsSection) {
  const Image example = ExampleImage();
  const Image image =
      WithRecord(FindRecord(example, kFirstSection, RecordType::kAuxiliaryRam),
                 [](RecordHeader* header) {
                   header->type = static_cast<uint32_t>(RecordType::kHost);
                 });
  EXPECT_THAT(ReadFirstVm(image),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("expected an auxiliary RAM or end record")));
}

// The example with digests, after `change` to those of its first VM, as if its
// writer had not kept the rules.
absl::Status ReadWithDigests(const std::function<void(RamDigests*)>& change) {
  LU_ASSIGN_OR_RETURN(Image image,
                      WriteHandover(ExampleHost(), ExampleVmsWithDigests()));
  const uint64_t offset =
      FindRecord(image, kFirstSection, RecordType::kRamDigests);
  auto header = Get<RecordHeader>(image, offset);
  RamDigests digests = *ExampleVmsWithDigests()[0].ram_digests;
  change(&digests);
  const std::string body = digests.SerializeAsString();
  // The rest of the old body is the field of an unknown number.
  std::string padded = body;
  padded.resize(header.body_size);
  if (body.size() + 2 > padded.size()) {
    return absl::InternalError("the change takes more room than there is");
  }
  padded[body.size()] = (15 << 3) | 2;
  padded[body.size() + 1] = static_cast<char>(padded.size() - body.size() - 2);
  std::memcpy(image.data() + offset + sizeof(header), padded.data(),
              padded.size());
  RepairCrcs(absl::MakeSpan(image));
  return ReadFirstVm(image);
}

TEST(HandoverReaderTest, RefusesDigestsThatNoWriterMakes) {
  EXPECT_THAT(ReadWithDigests([](RamDigests* d) { d->clear_digest_s(); }),
              IsOk());
  EXPECT_THAT(ReadWithDigests([](RamDigests* d) {
                d->mutable_blocks(0)->mutable_digests()->RemoveLast();
              }),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("2 digests for 3 chunks")));
}

TEST(HandoverReaderTest, RefusesASecondRecordOfDigests) {
  ASSERT_OK_AND_ASSIGN(Image image,
                       WriteHandover(ExampleHost(), ExampleVmsWithDigests()));
  const uint64_t offset =
      FindRecord(image, kFirstSection, RecordType::kAuxiliaryRam);
  auto header = Get<RecordHeader>(image, offset);
  header.type = static_cast<uint32_t>(RecordType::kRamDigests);
  Put(header, offset, &image);
  RepairCrcs(absl::MakeSpan(image));
  EXPECT_THAT(ReadFirstVm(image), StatusIs(absl::StatusCode::kDataLoss, _));
}

// --- Nothing damaged is ever accepted ---

// What the reader says of each part of an image, for comparing two images.
std::vector<absl::Status> Verdicts(const Image& image) {
  const absl::StatusOr<HandoverReader> reader = HandoverReader::Open(image);
  std::vector<absl::Status> verdicts = {reader.status()};
  if (!reader.ok()) return verdicts;
  for (size_t i = 0; i < reader->vms().size(); ++i) {
    verdicts.push_back(reader->ReadVm(i).status());
  }
  return verdicts;
}

TEST(HandoverReaderTest, NoFlippedBitIsAccepted) {
  Image image = ExampleImage();
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image));
  const std::vector<VmSection>& sections = reader.vms();
  for (size_t bit = 0; bit < image.size() * 8; ++bit) {
    const size_t byte = bit / 8;
    image[byte] ^= static_cast<uint8_t>(1 << (bit % 8));
    const std::vector<absl::Status> verdicts = Verdicts(image);
    image[byte] ^= static_cast<uint8_t>(1 << (bit % 8));

    bool in_a_vm = false;
    for (size_t i = 0; i < sections.size(); ++i) {
      if (byte < sections[i].offset ||
          byte >= sections[i].offset + sections[i].size) {
        continue;
      }
      in_a_vm = true;
      ASSERT_THAT(verdicts, SizeIs(1 + sections.size())) << "bit " << bit;
      for (size_t vm = 0; vm < sections.size(); ++vm) {
        ASSERT_EQ(verdicts[1 + vm].ok(), vm != i) << "bit " << bit;
      }
    }
    if (!in_a_vm) {
      ASSERT_THAT(verdicts[0], Not(IsOk())) << "bit " << bit;
    }
  }
}

TEST(HandoverReaderTest, NoTruncatedImageIsAccepted) {
  const Image image = ExampleImage();
  for (size_t size = 0; size < image.size(); ++size) {
    ASSERT_THAT(
        HandoverReader::Open(absl::MakeConstSpan(image).subspan(0, size)),
        StatusIs(absl::StatusCode::kDataLoss, _))
        << size;
  }
}

// --- Whose handover it is ---

constexpr char kHost[] = "0123456789abcdef0123456789abcdef";
constexpr char kOtherBoot[] = "99999999-2222-4333-8444-555555555555";

TEST(CheckBelongsHereTest, AcceptsTheLastUpdateOfThisHost) {
  EXPECT_THAT(CheckBelongsHere(ExampleHost(), kHost, kOtherBoot, 6), IsOk());
}

TEST(CheckBelongsHereTest, RefusesAnotherHosts) {
  EXPECT_THAT(CheckBelongsHere(ExampleHost(), "another", kOtherBoot, 6),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("this one is another")));
}

TEST(CheckBelongsHereTest, RefusesOneOfThisBoot) {
  EXPECT_THAT(
      CheckBelongsHere(ExampleHost(), kHost, ExampleHost().boot_id(), 6),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("written in this boot")));
}

TEST(CheckBelongsHereTest, ARestartOfQemuNeedsNoKexec) {
  HostRecord host = ExampleHost();
  host.set_qemu_restart(true);
  EXPECT_THAT(CheckBelongsHere(host, kHost, host.boot_id(), 6), IsOk());
  EXPECT_THAT(CheckBelongsHere(host, kHost, kOtherBoot, 6), IsOk());
}

TEST(CheckBelongsHereTest, RefusesAReplay) {
  EXPECT_THAT(
      CheckBelongsHere(ExampleHost(), kHost, kOtherBoot, 7),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("number 7")));
}

}  // namespace
}  // namespace live_update
