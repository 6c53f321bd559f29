// Small kernel files made up byte by byte, right in every field that is read.
// Tests spoil one field at a time.

#ifndef LOADER_TEST_KERNELS_H_
#define LOADER_TEST_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace live_update::loader {

inline constexpr char kTestRelease[] = "6.1.0-56-cloud-amd64";

// The header's fields that tests set; the rest is as a Debian kernel has it.
struct TestBzImage {
  std::string version =
      "6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP";
  uint16_t protocol = 0x020f;
  uint8_t loadflags = 1;      // LOADED_HIGH
  uint16_t xloadflags = 0x3;  // 64-bit, above 4 GiB
  uint32_t command_line_bytes = 2047;
  uint32_t init_bytes = 32 << 20;
  std::string payload = "payload";
};
std::string MakeBzImage(const TestBzImage& image = {});

// A vmlinux of one segment, holding `contents`, and one note with a build id of
// 20 bytes 0xb1.
std::string MakeElfKernel(absl::string_view contents);
inline constexpr char kTestBuildId[] =
    "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1";

// What a kernel has in its read-only data: banner, and KHO's and LUO's strings.
std::string TestKernelContents();

std::string Gzip(absl::string_view bytes);

// The three together: a bzImage that unpacks to an ELF file with all of it.
std::string MakeWholeKernel();

// Notes as in /sys/kernel/notes: one with that build id, given in bytes.
std::string MakeBuildIdNote(absl::string_view id);

// A /proc/kcore of two segments: vmalloc space, then the kernel's own memory
// with `contents`.
std::string MakeKcore(absl::string_view contents);

// Overwrites bytes of `file` at `offset` with a little-endian number.
template <typename T>
void Poke(std::string* file, size_t offset, T number) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    (*file)[offset + i] = static_cast<char>(number >> (8 * i));
  }
}

}  // namespace live_update::loader

#endif  // LOADER_TEST_KERNELS_H_
