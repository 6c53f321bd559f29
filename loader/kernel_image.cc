#include "loader/kernel_image.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "loader/byte_reader.h"

namespace live_update::loader {
namespace {

// A guess at what the operator gave instead of a kernel, for the message.
std::string WhatItLooksLike(absl::Span<const uint8_t> file) {
  const absl::string_view text = AsText(file);
  if (text.empty()) return "the file is empty";
  if (absl::StartsWith(text, "070701") || absl::StartsWith(text, "070702")) {
    return "it is a cpio archive: an initrd?";
  }
  if (absl::StartsWith(text, "\x1f\x8b") ||
      absl::StartsWith(text,
                       "\xfd"
                       "7zXZ") ||
      absl::StartsWith(text, "\x28\xb5\x2f\xfd") ||
      absl::StartsWith(text, "\x02\x21\x4c\x18")) {
    return "it is a compressed file: an initrd, or a kernel of another "
           "architecture?";
  }
  if (absl::StartsWith(text, "MZ")) {
    return "it is an EFI program without a Linux setup header: a unified "
           "kernel image? Give the vmlinuz it was made of";
  }
  return absl::StrCat("it starts with ",
                      absl::BytesToHexString(text.substr(0, 8)));
}

// The architecture of a kernel whose format says so; "" for all other files.
absl::string_view ForeignArchitecture(absl::Span<const uint8_t> file) {
  const absl::string_view text = AsText(file);
  if (text.size() < 0x40) return "";
  if (text.substr(0x38, 4) == "ARM\x64") return "aarch64 (an arm64 Image)";
  if (text.substr(0x38, 4) == "RSC\x05") return "riscv (an Image)";
  return "";
}

}  // namespace

std::string KernelImage::architecture() const {
  if (elf.has_value()) return elf->architecture;
  return bzimage.has_value() && bzimage->is_64_bit ? "x86-64" : "i386";
}

std::string KernelImage::format() const {
  return bzimage.has_value() ? "bzImage" : "vmlinux (ELF)";
}

std::string KernelImage::release() const {
  if (!bzimage.has_value()) return "";
  const std::vector<std::string> words =
      absl::StrSplit(bzimage->version, absl::MaxSplits(' ', 1));
  return words.front();
}

absl::StatusOr<KernelImage> ReadKernelImage(absl::Span<const uint8_t> file) {
  KernelImage image;
  image.file_bytes = file.size();
  absl::StatusOr<BzImage> bzimage = ReadBzImage(file);
  if (bzimage.ok()) {
    image.bzimage = *std::move(bzimage);
    return image;
  }
  if (!absl::IsNotFound(bzimage.status())) {
    return Annotate(bzimage.status(), "bzImage");
  }
  absl::StatusOr<ElfKernel> elf = ReadElfKernel(file);
  if (elf.ok()) {
    image.elf = *std::move(elf);
    return image;
  }
  if (!absl::IsNotFound(elf.status())) {
    return Annotate(elf.status(), "vmlinux");
  }
  const absl::string_view foreign = ForeignArchitecture(file);
  if (!foreign.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("a kernel for ", foreign, "; this host is x86-64"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("not a kernel (", bzimage.status().message(), ", ",
                   elf.status().message(), "): ", WhatItLooksLike(file)));
}

absl::Status CheckLoadable(const KernelImage& image,
                           uint64_t command_line_bytes) {
  if (image.architecture() != "x86-64") {
    return absl::FailedPreconditionError(absl::StrCat(
        "a kernel for ", image.architecture(), "; this host is x86-64"));
  }
  if (!image.bzimage.has_value()) {
    return absl::FailedPreconditionError(
        "a vmlinux; kexec_file_load takes a bzImage only: give the vmlinuz "
        "that was built with it");
  }
  return CheckLoadable(*image.bzimage, command_line_bytes);
}

}  // namespace live_update::loader
