#include "loader/elf_kernel.h"

#include <elf.h>
#include <gelf.h>
#include <libelf.h>

#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "loader/byte_reader.h"

namespace live_update::loader {
namespace {

// Cut-off values: a vmlinux has 5 program headers, under 100 sections, and
// notes of some 500 bytes.
constexpr size_t kMaxProgramHeaders = 128;
constexpr size_t kMaxSections = 4096;
constexpr uint64_t kMaxNotes = 1 << 20;
constexpr uint64_t kMaxBuildId = 64;

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};

std::string ArchitectureName(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_386:
      return "i386";
    case EM_AARCH64:
      return "aarch64";
    case EM_RISCV:
      return "riscv";
    case EM_PPC64:
      return "ppc64";
    case EM_S390:
      return "s390";
    default:
      return absl::StrCat("ELF machine ", machine);
  }
}

// kInvalidArgument unless `size` bytes at `offset` lie in the file.
absl::Status CheckWithin(absl::Span<const uint8_t> file, uint64_t offset,
                         uint64_t size, absl::string_view what) {
  absl::Status status = BytesAt(file, offset, size).status();
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      absl::StrCat("truncated, ", what, " are missing: ", status.message()));
}

// That both tables lie in the file, and are no longer than a kernel's.
absl::Status CheckTables(absl::Span<const uint8_t> file,
                         const Elf64_Ehdr& header) {
  if (header.e_phnum == 0 || header.e_phnum > kMaxProgramHeaders ||
      header.e_phentsize != sizeof(Elf64_Phdr)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d program headers of %d bytes", header.e_phnum, header.e_phentsize));
  }
  LU_RETURN_IF_ERROR(CheckWithin(file, header.e_phoff,
                                 uint64_t{header.e_phnum} * sizeof(Elf64_Phdr),
                                 "program headers"));
  if (header.e_shoff == 0 && header.e_shnum == 0) return absl::OkStatus();
  // A number of 0 stands for one too large for the field.
  if (header.e_shnum == 0 || header.e_shnum > kMaxSections ||
      header.e_shentsize != sizeof(Elf64_Shdr)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d section headers of %d bytes", header.e_shnum, header.e_shentsize));
  }
  return CheckWithin(file, header.e_shoff,
                     uint64_t{header.e_shnum} * sizeof(Elf64_Shdr),
                     "section headers");
}

absl::StatusOr<Elf64_Ehdr> ReadHeader(absl::Span<const uint8_t> file) {
  if (file.size() < sizeof(Elf64_Ehdr)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("truncated in the ELF header: %d bytes", file.size()));
  }
  if (file[EI_CLASS] != ELFCLASS64 || file[EI_DATA] != ELFDATA2LSB) {
    return absl::InvalidArgumentError(
        "not a 64-bit little-endian ELF file (bytes at offset 0x4)");
  }
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof(header));
  LU_RETURN_IF_ERROR(CheckTables(file, header));
  return header;
}

// All that libelf is shown of a file: header and program headers, checked, and
// no sections. What else a hostile file says can't lead it astray.
std::string HeadersOnly(absl::Span<const uint8_t> file, Elf64_Ehdr header) {
  const absl::string_view programs = AsText(file.subspan(
      header.e_phoff, uint64_t{header.e_phnum} * sizeof(Elf64_Phdr)));
  header.e_phoff = sizeof(header);
  header.e_shoff = 0;
  header.e_shnum = 0;
  header.e_shstrndx = 0;
  return absl::StrCat(
      absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header)),
      programs);
}

absl::StatusOr<ElfSegment> ReadSegment(absl::Span<const uint8_t> file,
                                       const GElf_Phdr& header, size_t index) {
  const auto broken = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "segment %d: %s (file %#x+%#x, memory %#x+%#x, file has %#x bytes)",
        index, why, header.p_offset, header.p_filesz, header.p_paddr,
        header.p_memsz, file.size()));
  };
  if (!BytesAt(file, header.p_offset, header.p_filesz).ok()) {
    return broken("truncated");
  }
  uint64_t end = 0;
  if (header.p_memsz < header.p_filesz ||
      __builtin_add_overflow(header.p_paddr, header.p_memsz, &end)) {
    return broken("its memory is too small or beyond the address space");
  }
  return ElfSegment{
      .file_offset = header.p_offset,
      .file_bytes = header.p_filesz,
      .memory = {.start = header.p_paddr, .size_bytes = header.p_memsz}};
}

}  // namespace

std::string GnuBuildId(absl::Span<const uint8_t> notes) {
  uint64_t offset = 0;
  while (offset < notes.size() && notes.size() - offset >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + offset, sizeof(note));
    offset += sizeof(note);
    const uint64_t name_bytes = (uint64_t{note.n_namesz} + 3) & ~uint64_t{3};
    const auto name = BytesAt(notes, offset, name_bytes);
    const auto id = BytesAt(notes, offset + name_bytes, note.n_descsz);
    if (!name.ok() || !id.ok()) return "";
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(name->data(), "GNU", 4) == 0 && id->size() <= kMaxBuildId) {
      return absl::BytesToHexString(absl::string_view(
          reinterpret_cast<const char*>(id->data()), id->size()));
    }
    offset += name_bytes + ((uint64_t{note.n_descsz} + 3) & ~uint64_t{3});
  }
  return "";
}

absl::StatusOr<ElfKernel> ReadElfKernel(absl::Span<const uint8_t> file) {
  if (file.size() < SELFMAG || std::memcmp(file.data(), ELFMAG, SELFMAG) != 0) {
    return absl::NotFoundError("no ELF magic at offset 0x0");
  }
  LU_ASSIGN_OR_RETURN(const Elf64_Ehdr raw, ReadHeader(file));
  if (elf_version(EV_CURRENT) == EV_NONE) {
    return absl::InternalError("libelf is older than its header");
  }
  std::string headers = HeadersOnly(file, raw);
  const std::unique_ptr<Elf, ElfEnd> elf(
      elf_memory(headers.data(), headers.size()));
  GElf_Ehdr header;
  size_t count = 0;
  if (elf == nullptr || gelf_getehdr(elf.get(), &header) == nullptr ||
      elf_getphdrnum(elf.get(), &count) != 0 || count > kMaxProgramHeaders) {
    return absl::InvalidArgumentError(
        absl::StrCat("ELF header: ", elf_errmsg(-1)));
  }
  // A relocatable x86 kernel is ET_EXEC; ET_DYN is what some others are.
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "an ELF file of type %d at offset 0x10, not an executable",
        header.e_type));
  }

  ElfKernel kernel;
  kernel.architecture = ArchitectureName(header.e_machine);
  kernel.entry = header.e_entry;
  uint64_t left = file.size();  // For segments.
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr program;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &program) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("program header ", i, ": ", elf_errmsg(-1)));
    }
    if (program.p_type == PT_LOAD && program.p_memsz > 0) {
      LU_ASSIGN_OR_RETURN(ElfSegment segment, ReadSegment(file, program, i));
      if (segment.file_bytes > left) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "segment %d: all segments together are longer than the file", i));
      }
      left -= segment.file_bytes;
      kernel.segments.push_back(segment);
    } else if (program.p_type == PT_NOTE && program.p_filesz <= kMaxNotes) {
      LU_RETURN_IF_ERROR(
          CheckWithin(file, program.p_offset, program.p_filesz, "notes"));
      kernel.notes.push_back(
          {.file_offset = program.p_offset, .file_bytes = program.p_filesz});
      if (kernel.build_id.empty()) {
        kernel.build_id =
            GnuBuildId(file.subspan(program.p_offset, program.p_filesz));
      }
    }
  }
  if (kernel.segments.empty()) {
    return absl::InvalidArgumentError("an ELF file with nothing to load");
  }
  return kernel;
}

}  // namespace live_update::loader
