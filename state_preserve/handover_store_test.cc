#include "state_preserve/handover_store.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::live_update::testing::IsOk;
using ::live_update::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kUuid[] = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

class HandoverStoreTest : public ::testing::Test {
 protected:
  HandoverStoreTest()
      : mount_(absl::StrCat(
            ::testing::TempDir(), "/",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())),
        store_(absl::StrCat(mount_, "/host-update")) {}

  static void Write(const std::string& path, const std::string& contents) {
    std::filesystem::create_directories(
        std::filesystem::path(path).parent_path());
    std::ofstream(path) << contents;
  }

  const std::string mount_;
  const std::string store_;
};

TEST_F(HandoverStoreTest, FindsOutgoingAndIncomingImages) {
  Write(store_ + "/incoming/b/handover", "");
  Write(store_ + "/incoming/a/handover", "");
  Write(store_ + "/incoming/c/ram/x", "");  // Cut off before it had an image.
  Write(store_ + "/outgoing/handover", "");
  EXPECT_THAT(*FindHandovers(mount_),
              ElementsAre(store_ + "/outgoing/handover",
                          store_ + "/incoming/a/handover",
                          store_ + "/incoming/b/handover"));
}

TEST_F(HandoverStoreTest, AnEmptyStoreHasNone) {
  Write(store_ + "/boot_id", "");
  EXPECT_THAT(*FindHandovers(mount_), IsEmpty());
}

TEST_F(HandoverStoreTest, WithoutAStoreItSaysWhere) {
  EXPECT_THAT(FindHandovers(mount_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(store_)));
}

// One VM whose block has a name that is no file name.
IncomingVm VmWithDigests(const RamDigests& digests) {
  IncomingVm vm;
  vm.record.set_uuid(kUuid);
  RamBlock& block = *vm.record.add_blocks();
  block.set_name("/objects/ram");
  block.set_size_bytes(8);
  block.mutable_in_place()->set_token("t");
  vm.ram_digests = digests;
  return vm;
}

TEST_F(HandoverStoreTest, TellsRamThatChanged) {
  const std::string image = store_ + "/incoming/a/handover";
  const std::string ram =
      absl::StrCat(store_, "/incoming/a/ram/", kUuid, "/%2Fobjects%2Fram");
  Write(ram, "contents");
  RamDigests digests;
  digests.set_hash(RamDigests::XXH3_64);
  digests.set_chunk_bytes(4096);
  digests.add_blocks()->set_name("/objects/ram");
  digests.mutable_blocks(0)->add_chunks(0);
  digests.mutable_blocks(0)->add_digests(0x6ff03be57814a2b1);

  const absl::Status verdict =
      VerifyStoredRam(image, VmWithDigests(digests), 1);
  // The digest above is none of "contents"; the message has the right one.
  EXPECT_THAT(verdict, StatusIs(absl::StatusCode::kDataLoss,
                                HasSubstr("/objects/ram at 0+0x8")));
  digests.mutable_blocks(0)->clear_digests();
  digests.mutable_blocks(0)->clear_chunks();
  EXPECT_THAT(VerifyStoredRam(image, VmWithDigests(digests), 1), IsOk());
}

TEST_F(HandoverStoreTest, RamThatIsNotThereIsNamed) {
  RamDigests digests;
  digests.set_hash(RamDigests::XXH3_64);
  digests.set_chunk_bytes(4096);
  EXPECT_THAT(VerifyStoredRam(store_ + "/incoming/a/handover",
                              VmWithDigests(digests), 1),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("%2Fobjects")));
}

}  // namespace
}  // namespace live_update
