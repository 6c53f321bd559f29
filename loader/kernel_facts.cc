#include "loader/kernel_facts.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "loader/byte_reader.h"
#include "loader/elf_kernel.h"
#include "loader/payload.h"

namespace live_update::loader {
namespace {

constexpr size_t kMaxBanner = 1024;
constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr size_t kMaxConfigLines = 65536;
constexpr size_t kMaxAbiStrings = 64;
// Beginnings of a banner that are looked at; a kernel has under 10.
constexpr int kMaxBannerStarts = 4096;

// What the ABI strings of include/linux/kho/abi/ begin with, before a '-'.
constexpr absl::string_view kAbiFamilies[] = {"kho", "luo", "memfd"};

// Whether a banner has the number of its build: "#1 SMP". A kernel since 6.1
// also holds a copy that was overridden at its last link, with "# SMP".
bool HasBuildNumber(absl::string_view banner) {
  const size_t number = banner.find(" #");
  return number != absl::string_view::npos && number + 2 < banner.size() &&
         absl::ascii_isdigit(banner[number + 2]);
}

// linux_banner, or else its overridden copy; another "Linux version " with a
// format in it (linux_proc_banner) is neither.
std::string FindBanner(absl::string_view text) {
  constexpr absl::string_view kStart = "Linux version ";
  absl::string_view copy;
  size_t at = text.find(kStart);
  for (int i = 0; i < kMaxBannerStarts && at != absl::string_view::npos;
       ++i, at = text.find(kStart, at + 1)) {
    absl::string_view banner = text.substr(at, kMaxBanner);
    banner =
        banner.substr(0, banner.find_first_of(absl::string_view("\n\0", 2)));
    if (banner.size() <= kStart.size() ||
        !absl::ascii_isdigit(banner[kStart.size()]) ||
        !std::all_of(banner.begin(), banner.end(), absl::ascii_isprint)) {
      continue;
    }
    if (HasBuildNumber(banner)) return std::string(banner);
    if (copy.empty()) copy = banner;
  }
  return std::string(copy);
}

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(c) || c == '-' || c == '_';
}

// Whether `word` is of the form PREFIX[-more]-vN.
bool IsAbiString(absl::string_view word) {
  const size_t version = word.rfind("-v");
  if (version == absl::string_view::npos) return false;
  const absl::string_view digits = word.substr(version + 2);
  return !digits.empty() &&
         std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
}

// The compatible strings of include/linux/kho/abi/: whole C strings.
absl::Status FindAbiStrings(absl::string_view text, absl::string_view prefix,
                            std::set<std::string>* found) {
  for (size_t at = text.find(prefix); at != absl::string_view::npos;
       at = text.find(prefix, at + 1)) {
    if (at > 0 && IsNameCharacter(text[at - 1])) continue;
    const absl::string_view rest = text.substr(at, 64);
    const auto end =
        std::find_if_not(rest.begin(), rest.end(), IsNameCharacter);
    if (end == rest.end() || *end != '\0') continue;
    const absl::string_view word =
        rest.substr(0, static_cast<size_t>(std::distance(rest.begin(), end)));
    if (!IsAbiString(word)) continue;
    found->insert(std::string(word));
    if (found->size() > kMaxAbiStrings) {
      return absl::InvalidArgumentError(absl::StrCat(
          "more than ", kMaxAbiStrings, " live-update ABI strings"));
    }
  }
  return absl::OkStatus();
}

// kernel/configs.c puts a gzip stream between these two.
std::string FindEmbeddedConfig(absl::string_view text) {
  size_t start = text.find("IKCFG_ST");
  if (start == absl::string_view::npos) return "";
  start += 8;
  const size_t end = text.find("IKCFG_ED", start);
  if (end == absl::string_view::npos) return "";
  const absl::string_view packed = text.substr(start, end - start);
  const auto config = UnpackGzip(AsBytes(packed), kMaxConfigBytes);
  return config.value_or("");
}

}  // namespace

absl::StatusOr<KernelConfig> KernelConfig::Parse(absl::string_view text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines.size() > kMaxConfigLines) {
    return absl::InvalidArgumentError(
        absl::StrCat("a configuration of ", lines.size(), " lines"));
  }
  KernelConfig config;
  for (absl::string_view line : lines) {
    if (!absl::ConsumePrefix(&line, "CONFIG_")) continue;
    const size_t equals = line.find('=');
    if (equals == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          "not a line of a kernel configuration: CONFIG_", line.substr(0, 80)));
    }
    config.options_.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  if (config.options_.empty()) {
    return absl::InvalidArgumentError("not a kernel configuration");
  }
  return config;
}

absl::StatusOr<KernelConfig> ReadInstalledConfig(const std::string& root,
                                                 absl::string_view release) {
  const std::string path = absl::StrCat(root, "/boot/config-", release);
  LU_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  absl::StatusOr<KernelConfig> config = KernelConfig::Parse(text);
  if (!config.ok()) return Annotate(config.status(), path);
  return config;
}

std::string KernelConfig::Get(absl::string_view option) const {
  const auto found = options_.find(option);
  return found == options_.end() ? "n" : found->second;
}

absl::Status AddFacts(absl::string_view contents, KernelFacts* facts) {
  if (!HasBuildNumber(facts->banner)) {
    std::string banner = FindBanner(contents);
    if (facts->banner.empty() || HasBuildNumber(banner)) {
      facts->banner = std::move(banner);
    }
    const std::vector<std::string> words =
        absl::StrSplit(facts->banner, absl::MaxSplits(' ', 3));
    if (words.size() > 2) facts->release = words[2];
  }
  if (facts->embedded_config.empty()) {
    facts->embedded_config = FindEmbeddedConfig(contents);
  }
  for (const absl::string_view family : kAbiFamilies) {
    LU_RETURN_IF_ERROR(FindAbiStrings(contents, absl::StrCat(family, "-"),
                                      &facts->abi_strings));
  }
  return absl::OkStatus();
}

std::string UnameOf(absl::string_view banner) {
  // "Linux version RELEASE (builder) (compiler) VERSION", init/version.c.
  constexpr absl::string_view kStart = "Linux version ";
  const size_t version = banner.rfind(") #");
  if (!absl::ConsumePrefix(&banner, kStart) ||
      version == absl::string_view::npos || !HasBuildNumber(banner)) {
    return "";
  }
  return absl::StrCat(banner.substr(0, banner.find(' ')), " ",
                      banner.substr(version + 2 - kStart.size()));
}

absl::string_view MissingAbi(const std::set<std::string>& abi_strings) {
  for (const absl::string_view family : kAbiFamilies) {
    const std::string prefix = absl::StrCat(family, "-");
    if (std::none_of(abi_strings.begin(), abi_strings.end(),
                     [&](const std::string& word) {
                       return absl::StartsWith(word, prefix);
                     })) {
      return family;
    }
  }
  return "";
}

absl::StatusOr<KernelFacts> ReadKernelFacts(absl::Span<const uint8_t> file,
                                            const KernelImage& image) {
  KernelFacts facts;
  std::string unpacked;
  absl::Span<const uint8_t> vmlinux = file;
  ElfKernel elf;
  if (image.bzimage.has_value()) {
    const absl::Span<const uint8_t> payload = file.subspan(
        image.bzimage->payload_offset, image.bzimage->payload_bytes);
    facts.compression = std::string(CompressionOf(payload));
    LU_ASSIGN_OR_RETURN(unpacked, Unpack(payload));
    vmlinux = AsBytes(unpacked);
    absl::StatusOr<ElfKernel> inner = ReadElfKernel(vmlinux);
    if (!inner.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "what the kernel unpacks to: ", inner.status().message()));
    }
    elf = *std::move(inner);
    if (elf.architecture != image.architecture()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the header tells of a kernel for ", image.architecture(),
          ", and it unpacks to one for ", elf.architecture));
    }
  } else {
    elf = *image.elf;
  }

  facts.build_id = elf.build_id;
  for (const ElfSegment& segment : elf.segments) {
    LU_RETURN_IF_ERROR(AddFacts(
        AsText(vmlinux.subspan(segment.file_offset, segment.file_bytes)),
        &facts));
  }
  if (facts.banner.empty()) {
    return absl::InvalidArgumentError(
        "no \"Linux version\" in it: not a Linux kernel");
  }
  return facts;
}

}  // namespace live_update::loader
