#include "host_update/cli/next_kernel.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/log.h"
#include "host_update/libvirt/capabilities_cache.h"

namespace live_update {

void ExpectKernel(absl::string_view kernel, const std::string& state_dir) {
  const auto kept = KeepCapabilities(kCapabilitiesDirectory, kernel);
  if (!kept.ok()) {
    LogWarning(absl::StrCat("libvirtd will ask QEMU what it can do: ",
                            kept.status().message()));
  } else if (!kept->empty()) {
    const absl::Status status =
        WriteFileAtomically(absl::StrCat(state_dir, "/capabilities-kept"),
                            absl::StrCat(absl::StrJoin(*kept, "\n"), "\n"));
    if (!status.ok()) LogWarning(status.message());
  }
}

}  // namespace live_update
