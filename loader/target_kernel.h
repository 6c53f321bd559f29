// The kernel to go to, looked at as a whole: its file, its initrd, the command
// line it would get, and what is installed beside it. Reads; changes nothing.

#ifndef LOADER_TARGET_KERNEL_H_
#define LOADER_TARGET_KERNEL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "loader/kernel_facts.h"
#include "loader/kernel_image.h"
#include "loader/kernel_reading.h"
#include "loader/modules.h"

namespace live_update::loader {

// What the operator asked for.
struct TargetRequest {
  std::string kernel_path;
  std::string initrd_path;           // Empty: none.
  std::string running_command_line;  // /proc/cmdline
  std::string append;
  std::string first_boot;  // Words for the boot of the jump alone.
  std::string root;        // Before /boot and /lib/modules; "" but in tests.
};

// One error does not hide the others: each part has its own.
struct TargetKernel {
  std::string kernel_path;
  std::string initrd_path;

  // The very files that were read. Stage these, not the paths again.
  UniqueFd kernel;
  UniqueFd initrd;

  absl::StatusOr<KernelImage> image = absl::UnknownError("not read");
  absl::StatusOr<uint64_t> initrd_bytes = absl::UnknownError("not read");
  // Whole; empty if `command_line_status` is an error.
  std::string command_line;
  absl::Status command_line_status = absl::UnknownError("not made");

  absl::StatusOr<KernelFacts> facts = absl::UnknownError("not read");
  // Embedded in the kernel, or else /boot/config-RELEASE.
  absl::StatusOr<KernelConfig> config = absl::UnknownError("not read");
  absl::StatusOr<ModuleSet> modules = absl::UnknownError("not read");

  // "6.1.0-56-cloud-amd64", or "" if neither header nor contents told.
  std::string release() const;
};

// Opens and reads everything `request` names, the kernel by `read_kernel`.
TargetKernel ReadTargetKernel(const TargetRequest& request,
                              const KernelReader& read_kernel = ReadKernelFile);

// Whether `initrd` is one: a cpio archive, packed by something the kernel can
// unpack, or not packed. kInvalidArgument: neither.
absl::Status CheckInitrd(absl::string_view initrd);

}  // namespace live_update::loader

#endif  // LOADER_TARGET_KERNEL_H_
