// What a kernel is made of, read out of its image before it is trusted with
// VMs: version, build id, configuration, and the strings of the live-update
// ABIs it speaks (Linux compares those for equality when it takes over).

#ifndef LOADER_KERNEL_FACTS_H_
#define LOADER_KERNEL_FACTS_H_

#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "loader/kernel_image.h"

namespace live_update::loader {

// A kernel's .config. Options that are not set are not in it.
class KernelConfig {
 public:
  // kInvalidArgument: not such a text.
  static absl::StatusOr<KernelConfig> Parse(absl::string_view text);

  // "y", "m", a number or a quoted string; "n" if it is not set.
  // `option` without CONFIG_.
  std::string Get(absl::string_view option) const;
  bool IsBuiltIn(absl::string_view option) const { return Get(option) == "y"; }
  bool IsSet(absl::string_view option) const { return Get(option) != "n"; }

 private:
  std::map<std::string, std::string, std::less<>> options_;
};

// That of an installed kernel: /boot/config-RELEASE below `root` ("" but in
// tests). `release` must be no path. Fails as ReadFile and Parse do, naming the
// file.
absl::StatusOr<KernelConfig> ReadInstalledConfig(const std::string& root,
                                                 absl::string_view release);

struct KernelFacts {
  std::string banner;  // "Linux version 6.1.0-56-cloud-amd64 (…) … #1 SMP …"
  std::string release;      // "6.1.0-56-cloud-amd64"
  std::string build_id;     // Lower-case hexadecimal; empty if there is none.
  std::string compression;  // "xz"; empty for a vmlinux.
  std::string embedded_config;  // CONFIG_IKCONFIG; empty if there is none.
  // "kho-v4", "luo-v5", "memfd-v2", … as they stand in the image.
  std::set<std::string> abi_strings;
};

// Reads `file`, whose header was read as `image`. kInvalidArgument: corrupt, or
// no Linux in it, or one that its header lies about; kResourceExhausted: beyond
// the limits; kUnimplemented: packed in a way that is not read.
absl::StatusOr<KernelFacts> ReadKernelFacts(absl::Span<const uint8_t> file,
                                            const KernelImage& image);

// Adds what `contents`, a part of an unpacked kernel or of a running one's
// memory, tells: banner, release, embedded configuration, ABI strings.
// kInvalidArgument: more ABI strings than any kernel has.
absl::Status AddFacts(absl::string_view contents, KernelFacts* facts);

// The kernel of `banner` as `uname -rv` prints it under that kernel:
// "6.1.0-56-cloud-amd64 #1 SMP …". "": the banner does not tell.
std::string UnameOf(absl::string_view banner);

// One of the "kho", "luo" and "memfd" families whose strings `abi_strings` has
// none of; "" if it has them all. Without each a kernel takes no memfd over.
absl::string_view MissingAbi(const std::set<std::string>& abi_strings);

}  // namespace live_update::loader

#endif  // LOADER_KERNEL_FACTS_H_
