// Of an authenticated handover, nothing that its key has not signed is
// believed, however good its CRCs are.

#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_preserve/example_handover.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/repair_crcs.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Image = std::vector<uint8_t>;

Image SignedImage() {
  const HandoverKey key = ExampleKey();
  absl::StatusOr<Image> image =
      WriteHandover(ExampleHost(), ExampleVmsWithDigests(), {.key = &key});
  EXPECT_THAT(image, IsOk());
  return std::move(image).value();
}

HandoverHeader HeaderOf(const Image& image) {
  HandoverHeader header;
  std::memcpy(&header, image.data(), sizeof(header));
  return header;
}

// Offset of the header of the host section's record of this type.
uint64_t HostRecordOffset(const Image& image, RecordType type) {
  uint64_t offset = HeaderOf(image).host_section_offset;
  while (true) {
    RecordHeader header;
    std::memcpy(&header, image.data() + offset, sizeof(header));
    if (header.type == static_cast<uint32_t>(type)) return offset;
    offset += RecordSize(header.body_size);
  }
}

// As if by somebody who knows the format, but not the key.
Image Forged(const std::function<void(Image&)>& change) {
  Image image = SignedImage();
  change(image);
  RepairCrcs(absl::MakeSpan(image));
  return image;
}

TEST(HandoverAuthenticationTest, TheKeyItWasWrittenWithOpensIt) {
  const HandoverKey key = ExampleKey();
  const Image image = SignedImage();
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image, &key));
  EXPECT_EQ(reader.authenticity(), Authenticity::kVerified);
  EXPECT_EQ(reader.key_id(), key.id());
  EXPECT_THAT(reader.ReadVm(0), IsOk());
  EXPECT_THAT(reader.ReadVm(1), IsOk());
}

TEST(HandoverAuthenticationTest, AnImageOfNoVmsIsAuthenticatedToo) {
  const HandoverKey key = ExampleKey();
  ASSERT_OK_AND_ASSIGN(const Image image,
                       WriteHandover(ExampleHost(), {}, {.key = &key}));
  EXPECT_THAT(HandoverReader::Open(image, &key), IsOk());
}

TEST(HandoverAuthenticationTest, WithoutAKeyItIsRefusedAndSaysWhatToGive) {
  EXPECT_THAT(HandoverReader::Open(SignedImage()),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr(ToHex(ExampleKey().id())),
                             HasSubstr("--handover-key FILE"))));
}

TEST(HandoverAuthenticationTest, AnotherKeyIsToldByItsId) {
  const HandoverKey other = OtherKey();
  EXPECT_THAT(HandoverReader::Open(SignedImage(), &other),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr(ToHex(ExampleKey().id())),
                             HasSubstr(ToHex(other.id())))));
}

TEST(HandoverAuthenticationTest, WithAKeyNothingUnauthenticatedIsAccepted) {
  const HandoverKey key = ExampleKey();
  for (const uint32_t version : {1, 2}) {
    ASSERT_OK_AND_ASSIGN(
        const Image image,
        WriteHandover(ExampleHost(), ExampleVms(), {.version = version}));
    EXPECT_THAT(HandoverReader::Open(image, &key),
                StatusIs(absl::StatusCode::kUnauthenticated,
                         HasSubstr("is not authenticated")))
        << version;
  }
}

TEST(HandoverAuthenticationTest, AMacOfAnotherKeyUnderThisKeysIdIsRefused) {
  const HandoverKey key = ExampleKey();
  Image image = SignedImage();
  RepairCrcsAndMac(OtherKey(), absl::MakeSpan(image));
  const uint64_t id = HostRecordOffset(image, RecordType::kAuthentication) +
                      sizeof(RecordHeader) +
                      offsetof(AuthenticationHead, key_id);
  std::memcpy(image.data() + id, key.id().data(), key.id().size());
  RepairCrcs(absl::MakeSpan(image));
  EXPECT_THAT(HandoverReader::Open(image, &key),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("MAC is not of the key")));
}

TEST(HandoverAuthenticationTest, CallingItVersion1DoesNotTakeTheMacAway) {
  const Image image =
      Forged([](Image& i) { i[offsetof(HandoverHeader, version)] = 1; });
  EXPECT_THAT(HandoverReader::Open(image),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("unknown type 0x7")));
}

TEST(HandoverAuthenticationTest, AnUnknownAlgorithmIsRefused) {
  const Image image = Forged([](Image& i) {
    i[HostRecordOffset(i, RecordType::kAuthentication) + sizeof(RecordHeader)] =
        9;
  });
  const HandoverKey key = ExampleKey();
  EXPECT_THAT(
      HandoverReader::Open(image, &key),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("algorithm 9")));
}

TEST(HandoverAuthenticationTest, ARecordWithADigestTooFewIsRefused) {
  const Image image = Forged([](Image& i) {
    // The same padded size, so that what follows stays in its place.
    const uint64_t offset = HostRecordOffset(i, RecordType::kAuthentication) +
                            offsetof(RecordHeader, body_size);
    i[offset] -= 1;
  });
  const HandoverKey key = ExampleKey();
  EXPECT_THAT(HandoverReader::Open(image, &key),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("63 bytes of digests for 2 VMs")));
}

TEST(HandoverAuthenticationTest, AForgedVmCostsOnlyItself) {
  const Image image = Forged([](Image& i) {
    i[sizeof(HandoverHeader) + sizeof(RecordHeader) + 3] ^= 1;
  });
  const HandoverKey key = ExampleKey();
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::Open(image, &key));
  EXPECT_THAT(reader.ReadVm(0), StatusIs(absl::StatusCode::kUnauthenticated,
                                         HasSubstr("at 0x40+")));
  EXPECT_THAT(reader.ReadVm(1), IsOk());
}

TEST(HandoverAuthenticationTest, AnybodyMayLookAtItButItIsSaidToBeUnchecked) {
  const Image image = SignedImage();
  ASSERT_OK_AND_ASSIGN(const HandoverReader reader,
                       HandoverReader::OpenUnverified(image));
  EXPECT_EQ(reader.authenticity(), Authenticity::kNotChecked);
}

// Every single bit, with CRCs that hold: what is accepted is what was signed.
TEST(HandoverAuthenticationTest, NoFlippedBitIsAcceptedWhateverItsCrcs) {
  const HandoverKey key = ExampleKey();
  const Image original = SignedImage();
  ASSERT_OK_AND_ASSIGN(const HandoverReader untouched,
                       HandoverReader::Open(original, &key));
  for (size_t bit = 0; bit < original.size() * 8; ++bit) {
    const size_t byte = bit / 8;
    Image image = original;
    image[byte] ^= static_cast<uint8_t>(1 << (bit % 8));
    RepairCrcs(absl::MakeSpan(image));
    if (image == original) continue;  // It was a CRC's.
    const absl::StatusOr<HandoverReader> reader =
        HandoverReader::Open(image, &key);
    if (byte < sizeof(HandoverHeader) ||
        byte >= HeaderOf(original).host_section_offset) {
      ASSERT_THAT(reader, Not(IsOk())) << "bit " << bit;
      continue;
    }
    ASSERT_THAT(reader, IsOk()) << "bit " << bit;
    for (size_t i = 0; i < untouched.vms().size(); ++i) {
      const VmSection& section = untouched.vms()[i];
      const bool hit =
          byte >= section.offset && byte < section.offset + section.size;
      ASSERT_EQ(reader->ReadVm(i).ok(), !hit) << "bit " << bit;
    }
  }
}

}  // namespace
}  // namespace live_update
