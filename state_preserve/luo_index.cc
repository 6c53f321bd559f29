#include "state_preserve/luo_index.h"

#include <atomic>
#include <cstring>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "state_preserve/format.h"
#include "state_preserve/names.h"

namespace live_update {
namespace {

constexpr int kMaxNesting = 8;

uint32_t HeaderCrc32c(LuoIndexHeader header) {
  header.header_crc32c = 0;
  return Crc32c(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&header),
                                    sizeof(header)));
}

absl::Status CheckText(absl::string_view field, absl::string_view text,
                       size_t limit_bytes) {
  if (text.empty() || text.size() > limit_bytes ||
      text.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": empty, longer than ", limit_bytes,
                     " bytes, or with a NUL byte"));
  }
  return absl::OkStatus();
}

// Adds the VM's tokens to `tokens`, all of the update's so far.
absl::Status CheckVm(const LuoIndex::Vm& vm,
                     absl::flat_hash_set<uint64_t>& tokens) {
  // It becomes a name in the keeper, too.
  if (!IsSafeName(vm.session()) ||
      vm.session().size() > kMaxLuoVmSessionBytes ||
      !absl::StartsWith(vm.session(), kLuoVmSessionPrefix)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "session: not a safe name of at most ", kMaxLuoVmSessionBytes,
        " bytes that begins with ", kLuoVmSessionPrefix));
  }
  absl::flat_hash_set<absl::string_view> names;
  for (const LuoIndex::Block& block : vm.blocks()) {
    LU_RETURN_IF_ERROR(CheckText("block", block.name(), kMaxNameBytes));
    if (block.size_bytes() == 0 || block.token() < kFirstLuoRamToken) {
      return absl::InvalidArgumentError(absl::StrCat(
          "block ", block.name(), ": of no size, or with no RAM's token"));
    }
    if (!names.insert(block.name()).second ||
        !tokens.insert(block.token()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("block ", block.name(), ": its name or its token ",
                       block.token(), " is used twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLuoIndex(const LuoIndex& index) {
  if (!IsSafeName(index.update_id())) {
    return absl::InvalidArgumentError("update id: not a safe name");
  }
  LU_RETURN_IF_ERROR(CheckText("boot id", index.boot_id(), kMaxStringBytes));
  if (static_cast<uint64_t>(index.vms_size()) > kMaxVms) {
    return absl::InvalidArgumentError(
        absl::StrCat(index.vms_size(), " VMs, more than ", kMaxVms));
  }
  absl::flat_hash_set<absl::string_view> seen;
  absl::flat_hash_set<uint64_t> tokens;
  for (const LuoIndex::Vm& vm : index.vms()) {
    if (!IsUuid(vm.uuid())) {
      return absl::InvalidArgumentError("a VM's UUID is none");
    }
    LU_RETURN_IF_ERROR(Annotate(CheckVm(vm, tokens), vm.uuid()));
    if (!seen.insert(vm.uuid()).second || !seen.insert(vm.session()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(vm.uuid(), ": it or its session is there twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteLuoIndex(const LuoIndex& index, absl::Span<uint8_t> area) {
  LU_RETURN_IF_ERROR(CheckLuoIndex(index));
  const std::string body = index.SerializeAsString();
  if (!FitsWithin(sizeof(LuoIndexHeader), body.size(), area.size())) {
    return absl::ResourceExhaustedError(
        absl::StrCat("index: ", body.size(), " bytes needed, ",
                     area.size() - sizeof(LuoIndexHeader), " there"));
  }
  LuoIndexHeader header = {.magic = kLuoIndexMagic,
                           .version = kLuoIndexVersion,
                           .body_size = body.size(),
                           .body_crc32c = Crc32c(body)};
  header.header_crc32c = HeaderCrc32c(header);

  // The magic goes first and comes last, each by one store.
  const std::atomic_ref<uint64_t> magic(
      *reinterpret_cast<uint64_t*>(area.data()));
  magic.store(0);
  std::memcpy(area.data() + sizeof(header), body.data(), body.size());
  std::memcpy(area.data() + sizeof(header.magic),
              reinterpret_cast<const uint8_t*>(&header) + sizeof(header.magic),
              sizeof(header) - sizeof(header.magic));
  magic.store(header.magic);
  return absl::OkStatus();
}

absl::StatusOr<LuoIndex> ReadLuoIndex(absl::Span<const uint8_t> bytes) {
  LuoIndexHeader header;
  if (bytes.size() < sizeof(header)) {
    return absl::DataLossError(
        absl::StrCat("index: only ", bytes.size(), " bytes"));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic == 0) {
    return absl::DataLossError("index: none was written");
  }
  if (header.magic != kLuoIndexMagic) {
    return absl::DataLossError("index: its magic is wrong");
  }
  if (header.header_crc32c != HeaderCrc32c(header)) {
    return absl::DataLossError("index: its header is damaged");
  }
  if (header.version != kLuoIndexVersion) {
    return absl::UnimplementedError(
        absl::StrCat("index: version ", header.version, ", this program reads ",
                     kLuoIndexVersion));
  }
  if (!FitsWithin(sizeof(header), header.body_size, bytes.size())) {
    return absl::DataLossError(absl::StrCat(
        "index: a body of ", header.body_size, " bytes in ", bytes.size()));
  }
  const auto body = bytes.subspan(sizeof(header), header.body_size);
  if (header.body_crc32c != Crc32c(body)) {
    return absl::DataLossError("index: its body is damaged");
  }
  if (body.size() > kLuoIndexBytes) {
    return absl::DataLossError(absl::StrCat("index: a body of ", body.size(),
                                            " bytes, more than ",
                                            kLuoIndexBytes));
  }
  LuoIndex index;
  google::protobuf::io::ArrayInputStream array(body.data(),
                                               static_cast<int>(body.size()));
  google::protobuf::io::CodedInputStream input(&array);
  input.SetRecursionLimit(kMaxNesting);
  if (!index.ParseFromCodedStream(&input) || !input.ConsumedEntireMessage()) {
    return absl::DataLossError("index: its body is malformed");
  }
  if (absl::Status status = CheckLuoIndex(index); !status.ok()) {
    return absl::DataLossError(absl::StrCat("index: ", status.message()));
  }
  return index;
}

const LuoIndex::Vm* FindVm(const LuoIndex& index, absl::string_view uuid) {
  for (const LuoIndex::Vm& vm : index.vms()) {
    if (vm.uuid() == uuid) return &vm;
  }
  return nullptr;
}

}  // namespace live_update
