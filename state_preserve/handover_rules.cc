#include "state_preserve/handover_rules.h"

#include <bit>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "state_preserve/format.h"
#include "state_preserve/names.h"

namespace live_update {
namespace {

absl::Status CheckString(absl::string_view field, absl::string_view value,
                         uint64_t limit_bytes) {
  if (value.size() > limit_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, ": ", value.size(), " bytes, more than ", limit_bytes));
  }
  if (value.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": has a NUL byte"));
  }
  return absl::OkStatus();
}

absl::Status CheckRequired(absl::string_view field, absl::string_view value,
                           uint64_t limit_bytes = kMaxStringBytes) {
  if (value.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": empty"));
  }
  return CheckString(field, value, limit_bytes);
}

absl::Status CheckUuid(absl::string_view field, absl::string_view value) {
  if (IsUuid(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": not a UUID"));
}

absl::Status CheckCount(absl::string_view field, uint64_t count,
                        uint64_t limit) {
  if (count <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", count, ", more than ", limit));
}

absl::Status CheckBlock(const RamBlock& block) {
  LU_RETURN_IF_ERROR(CheckRequired("name", block.name(), kMaxNameBytes));
  if (block.size_bytes() == 0) {
    return absl::InvalidArgumentError("size_bytes: 0");
  }
  if (block.has_in_place()) {
    return CheckRequired("in_place.token", block.in_place().token());
  }
  return CheckCount("size_bytes", block.size_bytes(), kMaxAuxiliaryBlockBytes);
}

// Blocks and their auxiliary contents, matched by name.
absl::Status CheckBlocks(const VmRecord& vm,
                         absl::Span<const AuxiliaryRam> auxiliary) {
  absl::flat_hash_map<std::string, uint64_t> expected;  // Name -> size.
  absl::flat_hash_map<std::string, const RamBlock*> blocks;
  for (const RamBlock& block : vm.blocks()) {
    LU_RETURN_IF_ERROR(
        Annotate(CheckBlock(block), absl::StrCat("RAM block ", block.name())));
    if (!blocks.emplace(block.name(), &block).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("RAM block ", block.name(), ": twice"));
    }
    if (!block.has_in_place()) expected[block.name()] = block.size_bytes();
  }

  uint64_t stored_bytes = 0;
  for (const AuxiliaryRam& ram : auxiliary) {
    const std::string context = absl::StrCat("auxiliary RAM ", ram.name());
    LU_RETURN_IF_ERROR(Annotate(CheckAuxiliaryRam(ram), context));
    const auto block = expected.find(ram.name());
    if (block == expected.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(context, ": no RAM block asks for it"));
    }
    if (block->second != ram.size_bytes()) {
      return absl::InvalidArgumentError(
          absl::StrCat(context, ": ", ram.size_bytes(),
                       " bytes for a block of ", block->second));
    }
    expected.erase(block);
    stored_bytes += ram.ByteSizeLong();
  }
  if (!expected.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "RAM block ", expected.begin()->first, ": its contents are missing"));
  }
  return CheckCount("auxiliary RAM", stored_bytes, kMaxAuxiliaryRamBytes);
}

// One block's digests, of a block of `size_bytes`.
absl::Status CheckBlockDigests(const RamDigests& digests,
                               const RamDigests::Block& block,
                               uint64_t size_bytes) {
  // Neither is 0 here.
  const uint64_t chunks = (size_bytes - 1) / digests.chunk_bytes() + 1;
  const auto count = static_cast<uint64_t>(block.digests_size());
  if (digests.all_chunks()) {
    if (count == chunks && block.chunks().empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(count, " digests and ", block.chunks_size(),
                     " numbers for all of ", chunks, " chunks"));
  }
  if (block.chunks_size() != block.digests_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " digests for ", block.chunks_size(), " chunks"));
  }
  uint64_t next = 0;
  for (const uint64_t chunk : block.chunks()) {
    if (chunk < next || chunk >= chunks) {
      return absl::InvalidArgumentError(
          absl::StrCat("chunk ", chunk, ": not between ", next, " and the ",
                       chunks, " of the block"));
    }
    next = chunk + 1;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHostRecord(const HostRecord& host) {
  if (!IsSafeName(host.update_id())) {
    return absl::InvalidArgumentError("update_id: not a safe name");
  }
  LU_RETURN_IF_ERROR(CheckRequired("host_id", host.host_id()));
  LU_RETURN_IF_ERROR(CheckRequired("boot_id", host.boot_id()));
  LU_RETURN_IF_ERROR(
      CheckString("kernel_release", host.kernel_release(), kMaxStringBytes));
  LU_RETURN_IF_ERROR(CheckString("writer", host.writer(), kMaxStringBytes));
  LU_RETURN_IF_ERROR(
      CheckString("started_at", host.started_at(), kMaxStringBytes));
  LU_RETURN_IF_ERROR(
      CheckString("target_kernel", host.target_kernel(), kMaxStringBytes));
  for (const RecordedSpan& span : host.spans()) {
    LU_RETURN_IF_ERROR(CheckString("span", span.phase(), kMaxStringBytes));
  }
  for (const OverriddenFinding& finding : host.overridden()) {
    for (const std::string* text : {&finding.code(), &finding.subject(),
                                    &finding.message(), &finding.remedy()}) {
      LU_RETURN_IF_ERROR(CheckString("overridden", *text, kMaxStringBytes));
    }
  }
  for (const std::string& uuid : host.inactive_vm_uuids()) {
    LU_RETURN_IF_ERROR(CheckUuid("inactive_vm_uuids", uuid));
  }
  LU_RETURN_IF_ERROR(CheckCount("other_vms", host.other_vms_size(), kMaxVms));
  for (const OtherVm& vm : host.other_vms()) {
    LU_RETURN_IF_ERROR(
        CheckRequired("other_vms.name", vm.name(), kMaxNameBytes));
    LU_RETURN_IF_ERROR(CheckUuid("other_vms.uuid", vm.uuid()));
    LU_RETURN_IF_ERROR(CheckRequired("other_vms.way", vm.way()));
  }
  return CheckCount("host record's bytes", host.ByteSizeLong(),
                    kMaxHostRecordBytes);
}

absl::Status CheckVm(const VmRecord& vm, uint64_t device_state_bytes,
                     absl::Span<const AuxiliaryRam> auxiliary) {
  LU_RETURN_IF_ERROR(CheckRequired("name", vm.name(), kMaxNameBytes));
  LU_RETURN_IF_ERROR(CheckUuid("uuid", vm.uuid()));
  LU_RETURN_IF_ERROR(
      CheckRequired("domain_xml", vm.domain_xml(), kMaxDomainXmlBytes));
  LU_RETURN_IF_ERROR(
      CheckString("qemu_version", vm.qemu_version(), kMaxStringBytes));
  LU_RETURN_IF_ERROR(
      CheckCount("RAM blocks", vm.blocks_size(), kMaxBlocksPerVm));
  LU_RETURN_IF_ERROR(
      CheckCount("VM record's bytes", vm.ByteSizeLong(), kMaxVmRecordBytes));
  LU_RETURN_IF_ERROR(CheckCount("device state's bytes", device_state_bytes,
                                kMaxDeviceStateBytes));
  return CheckBlocks(vm, auxiliary);
}

absl::Status CheckRamDigests(const RamDigests& digests, const VmRecord& vm) {
  if (!std::has_single_bit(digests.chunk_bytes()) ||
      digests.chunk_bytes() < kMinDigestChunkBytes ||
      digests.chunk_bytes() > kMaxDigestChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "RAM digests of chunks of ", digests.chunk_bytes(), " bytes"));
  }
  absl::flat_hash_map<std::string, uint64_t> blocks;  // Name -> size.
  for (const RamBlock& block : vm.blocks()) {
    if (block.has_in_place()) blocks[block.name()] = block.size_bytes();
  }
  uint64_t count = 0;
  for (const RamDigests::Block& block : digests.blocks()) {
    const std::string context =
        absl::StrCat("RAM digests of block ", block.name());
    const auto known = blocks.find(block.name());
    if (known == blocks.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(context, ": no such block in place, or twice"));
    }
    LU_RETURN_IF_ERROR(
        Annotate(CheckBlockDigests(digests, block, known->second), context));
    blocks.erase(known);
    count += static_cast<uint64_t>(block.digests_size());
  }
  LU_RETURN_IF_ERROR(CheckCount("RAM digests", count, kMaxRamDigests));
  return CheckCount("RAM digests' bytes", digests.ByteSizeLong(),
                    kMaxRamDigestsBytes);
}

absl::Status CheckAuxiliaryRam(const AuxiliaryRam& ram) {
  LU_RETURN_IF_ERROR(CheckRequired("name", ram.name(), kMaxNameBytes));
  LU_RETURN_IF_ERROR(
      CheckCount("size_bytes", ram.size_bytes(), kMaxAuxiliaryBlockBytes));
  uint64_t end = 0;
  for (const AuxiliaryRam::Extent& extent : ram.extents()) {
    if (extent.offset() < end) {
      return absl::InvalidArgumentError(
          absl::StrCat("extent at ", extent.offset(), ": overlaps the last"));
    }
    if (!FitsWithin(extent.offset(), extent.data().size(), ram.size_bytes())) {
      return absl::InvalidArgumentError(
          absl::StrCat("extent ", extent.offset(), "+", extent.data().size(),
                       ": past the block's ", ram.size_bytes(), " bytes"));
    }
    end = extent.offset() + extent.data().size();
  }
  return absl::OkStatus();
}

}  // namespace live_update
