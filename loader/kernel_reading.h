// All that is read out of a kernel's file, and as bytes for another process.

#ifndef LOADER_KERNEL_READING_H_
#define LOADER_KERNEL_READING_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "loader/kernel_facts.h"
#include "loader/kernel_image.h"

namespace live_update::loader {

struct KernelReading {
  absl::StatusOr<KernelImage> image = absl::UnknownError("not read");
  absl::StatusOr<KernelFacts> facts = absl::UnknownError("not read");
};

using KernelReader = std::function<KernelReading(const UniqueFd& file)>;

// Reads what is left of `file`, in this process.
KernelReading ReadKernelFile(const UniqueFd& file);

// `reading` but for an ELF kernel's segments and notes, which only reading it
// needs.
std::string PackReading(const KernelReading& reading);
// kInvalidArgument: not such bytes. They may be anybody's.
absl::StatusOr<KernelReading> UnpackReading(absl::string_view bytes);

}  // namespace live_update::loader

#endif  // LOADER_KERNEL_READING_H_
