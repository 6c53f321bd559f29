#include "loader/running_kernel.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/checked_math.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "loader/byte_reader.h"
#include "loader/elf_kernel.h"
#include "loader/kernel_image.h"

namespace live_update::loader {
namespace {

constexpr uint64_t kMaxSmall = 64 << 10;
constexpr uint64_t kMaxNotes = 1 << 20;
constexpr uint64_t kMaxKernelBytes = uint64_t{256} << 20;

// Where x86-64 maps the kernel image: 1 GiB at most, modules above it.
constexpr uint64_t kImageStart = 0xffffffff80000000;
constexpr uint64_t kImageEnd = 0xffffffffc0000000;
constexpr uint64_t kMaxText = uint64_t{256} << 20;

// What the running kernel says of itself.
struct Identity {
  std::string banner;    // /proc/version
  std::string build_id;  // /sys/kernel/notes
};

absl::StatusOr<Identity> ReadIdentity(const std::string& root) {
  Identity identity;
  LU_ASSIGN_OR_RETURN(const std::string banner,
                      ReadFile(root + "/proc/version", kMaxSmall));
  identity.banner = std::string(absl::StripSuffix(banner, "\n"));
  LU_ASSIGN_OR_RETURN(const std::string notes,
                      ReadFile(root + "/sys/kernel/notes", kMaxNotes));
  identity.build_id = GnuBuildId(AsBytes(notes));
  if (identity.build_id.empty()) {
    return absl::NotFoundError("/sys/kernel/notes has no build id");
  }
  if (!absl::StartsWith(identity.banner, "Linux version ")) {
    return absl::NotFoundError("/proc/version has no \"Linux version\"");
  }
  return identity;
}

// The facts of an installed image, if it is the running kernel.
absl::StatusOr<KernelFacts> ReadInstalled(const std::string& path,
                                          const Identity& running) {
  LU_ASSIGN_OR_RETURN(const std::string file, ReadFile(path, kMaxKernelBytes));
  LU_ASSIGN_OR_RETURN(const KernelImage image, ReadKernelImage(AsBytes(file)));
  LU_ASSIGN_OR_RETURN(KernelFacts facts, ReadKernelFacts(AsBytes(file), image));
  if (facts.build_id != running.build_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("is another kernel: build id ",
                     facts.build_id.empty() ? "none" : facts.build_id,
                     ", running is ", running.build_id));
  }
  if (facts.banner != running.banner) {
    return absl::FailedPreconditionError(
        absl::StrCat("is another kernel: \"", facts.banner, "\", running is \"",
                     running.banner, "\""));
  }
  return facts;
}

// Up to `size` bytes at `offset`; fewer at the end of the file.
absl::StatusOr<std::string> ReadAt(const UniqueFd& fd, uint64_t offset,
                                   uint64_t size) {
  constexpr uint64_t kChunk = 1 << 20;
  const auto end = CheckedAdd(offset, size);
  if (!end.has_value() ||
      *end > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) {
    return absl::OutOfRangeError(
        absl::StrFormat("%#x bytes at offset %#x", size, offset));
  }
  std::string bytes;
  while (bytes.size() < size) {
    const size_t filled = bytes.size();
    bytes.resize(filled + std::min<uint64_t>(kChunk, size - filled));
    const ssize_t count =
        pread(fd.get(), bytes.data() + filled, bytes.size() - filled,
              static_cast<off_t>(offset + filled));
    if (count < 0) {
      return absl::ErrnoToStatus(
          errno, absl::StrFormat("read at offset %#x", offset + filled));
    }
    bytes.resize(filled + static_cast<size_t>(count));
    if (count == 0) break;
  }
  return bytes;
}

absl::StatusOr<KernelFacts> ReadKcore(const std::string& path,
                                      const Identity& running) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, "open");
  LU_ASSIGN_OR_RETURN(const std::string start, ReadAt(fd, 0, kMaxKcoreHeaders));
  LU_ASSIGN_OR_RETURN(const KcoreText place, FindKcoreText(AsBytes(start)));
  LU_ASSIGN_OR_RETURN(const std::string text,
                      ReadAt(fd, place.offset, place.size_bytes));
  if (text.size() != place.size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("ends after ", text.size(),
                                                   " of the kernel's ",
                                                   place.size_bytes, " bytes"));
  }
  KernelFacts facts;
  LU_RETURN_IF_ERROR(AddFacts(text, &facts));
  if (facts.banner != running.banner) {
    return absl::FailedPreconditionError(absl::StrCat(
        "has not the banner of /proc/version, but \"", facts.banner, "\""));
  }
  facts.build_id = running.build_id;
  return facts;
}

}  // namespace

absl::StatusOr<KcoreText> FindKcoreText(absl::Span<const uint8_t> start) {
  if (start.size() < sizeof(Elf64_Ehdr) ||
      std::memcmp(start.data(), ELFMAG, SELFMAG) != 0) {
    return absl::InvalidArgumentError("no ELF header at offset 0x0");
  }
  Elf64_Ehdr header;
  std::memcpy(&header, start.data(), sizeof(header));
  if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_CORE ||
      header.e_machine != EM_X86_64 ||
      header.e_phentsize != sizeof(Elf64_Phdr)) {
    return absl::InvalidArgumentError("not the core of an x86-64 kernel");
  }
  const uint64_t size = uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  const auto programs = BytesAt(start, header.e_phoff, size);
  if (!programs.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "program headers are missing: ", programs.status().message()));
  }
  for (uint64_t at = 0; at < size; at += sizeof(Elf64_Phdr)) {
    Elf64_Phdr program;
    std::memcpy(&program, programs->data() + at, sizeof(program));
    if (program.p_type != PT_LOAD || program.p_vaddr < kImageStart ||
        program.p_vaddr >= kImageEnd || program.p_filesz == 0) {
      continue;
    }
    const auto end = CheckedAdd(program.p_vaddr, program.p_filesz);
    if (!end.has_value() || *end > kImageEnd || program.p_filesz > kMaxText) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the kernel's segment is %#x+%#x", program.p_vaddr,
                          program.p_filesz));
    }
    return KcoreText{.offset = program.p_offset,
                     .size_bytes = program.p_filesz};
  }
  return absl::NotFoundError("it has no segment of the kernel's own memory");
}

absl::StatusOr<RunningKernel> ReadRunningKernel(const std::string& root,
                                                const std::string& release) {
  const absl::StatusOr<Identity> identity = ReadIdentity(root);
  if (!identity.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "which kernel runs can't be told: ", identity.status().message()));
  }
  std::vector<std::string> tried;
  for (const std::string& path :
       {absl::StrCat("/boot/vmlinuz-", release),
        absl::StrCat("/lib/modules/", release, "/vmlinuz")}) {
    absl::StatusOr<KernelFacts> facts = ReadInstalled(root + path, *identity);
    if (facts.ok()) {
      return RunningKernel{
          .facts = *std::move(facts),
          .how = absl::StrCat("read from ", path, ", by build id ",
                              identity->build_id,
                              " and banner the running kernel's")};
    }
    tried.push_back(absl::StrCat(path, ": ", facts.status().message()));
  }
  absl::StatusOr<KernelFacts> facts =
      ReadKcore(root + "/proc/kcore", *identity);
  if (facts.ok()) {
    return RunningKernel{.facts = *std::move(facts),
                         .how =
                             "read from its own memory (/proc/kcore), which "
                             "has the banner of /proc/version"};
  }
  tried.push_back(absl::StrCat("/proc/kcore: ", facts.status().message()));
  return absl::FailedPreconditionError(absl::StrCat(
      "the running kernel can't be read: ", absl::StrJoin(tried, "; ")));
}

}  // namespace live_update::loader
