// What keeps the VMs' RAM over the kexec.

#ifndef HOST_UPDATE_BACKEND_H_
#define HOST_UPDATE_BACKEND_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace live_update {

enum class Backend {
  kDax,        // "dax": files on a DAX file system in memory kept by memmap=.
  kLuo,        // "luo": memfds, by the kernel's Live Update Orchestrator.
  kDirectory,  // "directory": any folder; keeps nothing over a kexec.
};

inline absl::StatusOr<Backend> ParseBackend(absl::string_view name) {
  if (name == "dax") return Backend::kDax;
  if (name == "luo") return Backend::kLuo;
  if (name == "directory") return Backend::kDirectory;
  return absl::InvalidArgumentError(absl::StrCat(
      "there is no backend \"", name, "\"; give dax, luo or directory"));
}

}  // namespace live_update

#endif  // HOST_UPDATE_BACKEND_H_
