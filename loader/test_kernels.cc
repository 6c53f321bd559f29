#include "loader/test_kernels.h"

#include <elf.h>
#include <zlib.h>

#include "absl/strings/str_cat.h"

namespace live_update::loader {

std::string MakeBzImage(const TestBzImage& image) {
  constexpr size_t kSetupBytes = 1024;  // Boot sector and one more.
  constexpr size_t kVersionAt = 0x300;
  constexpr size_t kPayloadAt = 0x20;  // In the protected-mode kernel.
  std::string setup(kSetupBytes, '\0');
  std::string kernel =
      absl::StrCat(std::string(kPayloadAt, '\x90'), image.payload);
  kernel.resize((kernel.size() + 15) / 16 * 16);
  setup.replace(0, 2, "MZ");
  setup.replace(0x202, 4, "HdrS");
  Poke<uint8_t>(&setup, 0x1f1, 1);
  Poke<uint32_t>(&setup, 0x1f4, static_cast<uint32_t>(kernel.size() / 16));
  Poke<uint16_t>(&setup, 0x1fe, 0xaa55);
  Poke<uint16_t>(&setup, 0x206, image.protocol);
  Poke<uint16_t>(&setup, 0x20e, kVersionAt - 0x200);
  Poke<uint8_t>(&setup, 0x201, 0x6a);  // The header ends at 0x26c.
  Poke<uint8_t>(&setup, 0x211, image.loadflags);
  Poke<uint32_t>(&setup, 0x230, 0x200000);
  Poke<uint8_t>(&setup, 0x234, 1);
  Poke<uint16_t>(&setup, 0x236, image.xloadflags);
  Poke<uint32_t>(&setup, 0x238, image.command_line_bytes);
  Poke<uint32_t>(&setup, 0x248, kPayloadAt);
  Poke<uint32_t>(&setup, 0x24c, static_cast<uint32_t>(image.payload.size()));
  Poke<uint64_t>(&setup, 0x258, 0x1000000);
  Poke<uint32_t>(&setup, 0x260, image.init_bytes);
  setup.replace(kVersionAt, image.version.size(), image.version);
  return setup + kernel;
}

namespace {

Elf64_Ehdr MakeHeader(uint16_t type) {
  Elf64_Ehdr header{};
  header.e_ident[EI_MAG0] = ELFMAG0;
  header.e_ident[EI_MAG1] = ELFMAG1;
  header.e_ident[EI_MAG2] = ELFMAG2;
  header.e_ident[EI_MAG3] = ELFMAG3;
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = type;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = 0x1000000;
  header.e_phoff = sizeof(header);
  header.e_ehsize = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 2;
  return header;
}

}  // namespace

std::string MakeBuildIdNote(absl::string_view id) {
  std::string note(sizeof(Elf64_Nhdr), '\0');
  Poke<uint32_t>(&note, 0, 4);  // Of "GNU" with its NUL.
  Poke<uint32_t>(&note, 4, static_cast<uint32_t>(id.size()));
  Poke<uint32_t>(&note, 8, NT_GNU_BUILD_ID);
  return absl::StrCat(note, "GNU", absl::string_view("\0", 1), id);
}

std::string MakeKcore(absl::string_view contents) {
  constexpr size_t kContentsAt = 0x2000;
  const Elf64_Ehdr header = MakeHeader(ET_CORE);
  Elf64_Phdr programs[2]{};
  programs[0].p_type = PT_LOAD;
  programs[0].p_offset = 0x1000;
  programs[0].p_vaddr = 0xffffc90000000000;
  programs[0].p_filesz = uint64_t{1} << 45;
  programs[1].p_type = PT_LOAD;
  programs[1].p_offset = kContentsAt;
  programs[1].p_vaddr = 0xffffffff81000000;
  programs[1].p_filesz = contents.size();
  std::string file(kContentsAt, '\0');
  file.replace(0, sizeof(header), reinterpret_cast<const char*>(&header),
               sizeof(header));
  file.replace(sizeof(header), sizeof(programs),
               reinterpret_cast<const char*>(programs), sizeof(programs));
  return absl::StrCat(file, contents);
}

std::string MakeElfKernel(absl::string_view contents) {
  constexpr size_t kNotesAt = 0x100;
  constexpr size_t kContentsAt = 0x200;
  std::string file(kContentsAt, '\0');
  const Elf64_Ehdr header = MakeHeader(ET_EXEC);
  Elf64_Phdr programs[2]{};
  programs[0].p_type = PT_LOAD;
  programs[0].p_offset = kContentsAt;
  programs[0].p_filesz = contents.size();
  programs[0].p_memsz = contents.size() + 0x1000;
  programs[0].p_paddr = 0x1000000;
  programs[1].p_type = PT_NOTE;
  programs[1].p_offset = kNotesAt;

  const std::string note = MakeBuildIdNote(std::string(20, '\xb1'));
  programs[1].p_filesz = note.size();

  file.replace(0, sizeof(header), reinterpret_cast<const char*>(&header),
               sizeof(header));
  file.replace(sizeof(header), sizeof(programs),
               reinterpret_cast<const char*>(programs), sizeof(programs));
  file.replace(kNotesAt, note.size(), note);
  return absl::StrCat(file, contents);
}

std::string TestKernelContents() {
  std::string contents = absl::StrCat(
      "%s version %s (debian-kernel@lists.debian.org)|Linux version ",
      kTestRelease,
      " (debian-kernel@lists.debian.org) (gcc-12) #1 SMP Debian 6.1.1-1\n|"
      "kho-v4|luo-v5|memfd-v2|luo-session-v2|xkho-v9|kho-version|");
  for (char& c : contents) {
    if (c == '|') c = '\0';
  }
  return contents;
}

std::string Gzip(absl::string_view bytes) {
  std::string packed(compressBound(bytes.size()) + 64, '\0');
  z_stream z{};
  deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 16 + MAX_WBITS, 8,
               Z_DEFAULT_STRATEGY);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(packed.data());
  z.avail_out = static_cast<uInt>(packed.size());
  deflate(&z, Z_FINISH);
  packed.resize(z.total_out);
  deflateEnd(&z);
  return packed;
}

std::string MakeWholeKernel() {
  TestBzImage image;
  image.payload = Gzip(MakeElfKernel(TestKernelContents()));
  return MakeBzImage(image);
}

}  // namespace live_update::loader
