#include "state_preserve/example_handover.h"

#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "state_preserve/handover_writer.h"

namespace live_update {
namespace {

void AddInPlaceBlock(VmRecord* vm, const std::string& name, uint64_t size_bytes,
                     uint64_t inode) {
  RamBlock* block = vm->add_blocks();
  block->set_name(name);
  block->set_size_bytes(size_bytes);
  block->mutable_in_place()->set_token(vm->uuid() + "/" + name);
  block->mutable_in_place()->set_device(259);
  block->mutable_in_place()->set_inode(inode);
}

void AddExtent(AuxiliaryRam* ram, uint64_t offset, const std::string& data) {
  AuxiliaryRam::Extent* extent = ram->add_extents();
  extent->set_offset(offset);
  extent->set_data(data);
}

// Adds the block and returns its contents, all zero so far.
AuxiliaryRam* AddAuxiliaryBlock(ExampleVm* vm, const std::string& name,
                                uint64_t size_bytes) {
  RamBlock* block = vm->record.add_blocks();
  block->set_name(name);
  block->set_size_bytes(size_bytes);
  AuxiliaryRam* ram = &vm->auxiliary.emplace_back();
  ram->set_name(name);
  ram->set_size_bytes(size_bytes);
  return ram;
}

ExampleVm WebVm() {
  ExampleVm vm;
  vm.record.set_name("web-1");
  vm.record.set_uuid("c7a5fdbd-edaf-9455-926a-d65c16db1809");
  vm.record.set_domain_xml("<domain type='kvm'><name>web-1</name></domain>");
  vm.record.set_was_running(true);
  vm.record.set_persistent(true);
  vm.record.set_autostart(true);
  vm.record.set_qemu_uid(64055);
  vm.record.set_qemu_gid(64055);
  vm.record.set_qemu_version("10.0.2");
  vm.record.set_paused_tsc(1000100);
  vm.record.set_pause_s(0.25);
  vm.record.set_save_s(0.5);
  AddInPlaceBlock(&vm.record, "pc.ram", uint64_t{1} << 30, 12);
  AddExtent(AddAuxiliaryBlock(&vm, "pc.bios", 262144), 258048,
            std::string(4096, 'B'));
  AuxiliaryRam* tables = AddAuxiliaryBlock(&vm, "/rom@etc/acpi/tables", 131072);
  AddExtent(tables, 0, "DSDT");
  AddExtent(tables, 4096, "FACP");
  AddAuxiliaryBlock(&vm, "vga.vram", 16 << 20);
  vm.device_state = std::string("QEVM\0\0\0\3", 8) + std::string(1000, 'd');
  return vm;
}

ExampleVm DatabaseVm() {
  ExampleVm vm;
  vm.record.set_name("db-1");
  vm.record.set_uuid("0a0a0a0a-0000-4000-8000-00000000db01");
  vm.record.set_domain_xml("<domain type='kvm'><name>db-1</name></domain>");
  vm.record.set_was_running(false);
  vm.record.set_qemu_version("10.0.2");
  AddInPlaceBlock(&vm.record, "ram-node0", uint64_t{4} << 30, 13);
  AddInPlaceBlock(&vm.record, "dimm0", uint64_t{2} << 30, 14);
  vm.device_state = std::string("QEVM\0\0\0\3", 8) + std::string(500, 'e');
  return vm;
}

}  // namespace

HostRecord ExampleHost() {
  HostRecord host;
  host.set_update_id("7d9e1f00-1111-4222-8333-444455556666");
  host.set_host_id("0123456789abcdef0123456789abcdef");
  host.set_boot_id("11111111-2222-4333-8444-555555555555");
  host.set_counter(7);
  host.set_kernel_release("6.1.0-40-amd64");
  host.set_writer("host_update 0.1");
  host.set_started_at("2026-11-24T13:00:00Z");
  host.mutable_committed_at()->set_tsc(1002000);
  host.mutable_committed_at()->set_realtime_ns(1795525200000000000);
  host.mutable_committed_at()->set_boottime_ns(86400000000000);
  host.set_tsc_hz(2.5e9);
  RecordedSpan* pause = host.add_spans();
  pause->set_phase("pause");
  pause->set_start_tsc(1000000);
  pause->set_end_tsc(1000200);
  host.set_started_tsc(900000);
  host.add_inactive_vm_uuids("ffffffff-0000-4000-8000-000000000000");
  return host;
}

std::vector<ExampleVm> ExampleVms() { return {WebVm(), DatabaseVm()}; }

std::vector<ExampleVm> ExampleVmsWithDigests() {
  std::vector<ExampleVm> vms = ExampleVms();
  RamDigests& sampled = vms[0].ram_digests.emplace();
  sampled.set_hash(RamDigests::XXH3_64);
  sampled.set_chunk_bytes(4096);
  sampled.set_digest_s(0.002);
  RamDigests::Block* ram = sampled.add_blocks();
  ram->set_name("pc.ram");
  for (const uint64_t page : {uint64_t{0}, uint64_t{1000}, uint64_t{262143}}) {
    ram->add_chunks(page);
    ram->add_digests(0x1111111111111111 + page);
  }
  RamDigests& all = vms[1].ram_digests.emplace();
  all.set_hash(RamDigests::XXH3_64);
  all.set_chunk_bytes(1 << 30);
  all.set_all_chunks(true);
  all.set_digest_s(1.5);
  for (const auto& [name, chunks] :
       {std::pair("ram-node0", 4), std::pair("dimm0", 2)}) {
    RamDigests::Block* block = all.add_blocks();
    block->set_name(name);
    for (int i = 0; i < chunks; ++i) {
      block->add_digests(0x2222222222222222 + static_cast<uint64_t>(i));
    }
  }
  return vms;
}

HandoverKey ExampleKey() {
  std::string bytes;
  for (char byte = 0; byte < 32; ++byte) bytes.push_back(byte);
  return HandoverKey::FromBytes(bytes).value();
}

HandoverKey OtherKey() {
  return HandoverKey::FromBytes(std::string(40, 'k')).value();
}

absl::StatusOr<std::vector<uint8_t>> WriteHandover(
    const HostRecord& host, absl::Span<const ExampleVm> vms,
    const WriteHandoverOptions& options) {
  constexpr uint64_t kSlack = 1 << 10;  // For headers, ends, directory entry.
  uint64_t area_bytes = kSlack + host.ByteSizeLong();
  for (const ExampleVm& vm : vms) {
    area_bytes += kSlack + vm.record.ByteSizeLong() + vm.device_state.size();
    for (const AuxiliaryRam& ram : vm.auxiliary) {
      area_bytes += kSlack + ram.ByteSizeLong();
    }
    if (vm.ram_digests.has_value()) {
      area_bytes += kSlack + vm.ram_digests->ByteSizeLong();
    }
  }
  std::vector<uint8_t> area(area_bytes);
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<HandoverWriter> writer,
                      HandoverWriter::Create(absl::MakeSpan(area),
                                             options.version, options.key));
  for (const ExampleVm& vm : vms) {
    LU_RETURN_IF_ERROR(
        writer->AddVm(vm.record, vm.device_state, vm.auxiliary,
                      vm.ram_digests.has_value() ? &*vm.ram_digests : nullptr));
  }
  LU_ASSIGN_OR_RETURN(const uint64_t size, writer->Finish(host));
  LU_RETURN_IF_ERROR(writer->Commit());
  area.resize(size);
  return area;
}

}  // namespace live_update
