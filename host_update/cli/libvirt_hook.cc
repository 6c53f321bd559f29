#include "host_update/cli/libvirt_hook.h"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "host_update/libvirt/domain_xml.h"
#include "host_update/libvirt/hook.h"
#include "host_update/libvirt/libvirt_hypervisor.h"
#include "state_preserve/dax_memory.h"

namespace live_update {
namespace {

void ReplaceXml() {
  const UniqueFd input(dup(STDIN_FILENO));
  const absl::StatusOr<std::string> xml = ReadAll(input, kMaxXmlBytes);
  if (!xml.ok()) return LogError(xml.status().message());
  const absl::StatusOr<std::string> replaced =
      XmlForRestore(*xml, LibvirtOptions().runtime_directory);
  if (!replaced.ok()) return LogError(replaced.status().message());
  std::fputs(replaced->c_str(), stdout);
  std::fflush(stdout);
}

void GiveMemoryBack(const Options& options) {
  const auto memory = DaxMemory::Open({.mount = options.dax_dir});
  if (!memory.ok()) return;  // Not a host with preserved memory.
  const absl::StatusOr<uint64_t> freed = (*memory)->CollectGarbage();
  if (!freed.ok()) return LogError(freed.status().message());
  if (*freed > 0) {
    LogInfo(absl::StrCat("freed ", *freed, " bytes of VMs that stopped"));
  }
}

}  // namespace

int RunLibvirtHook(const Options& options) {
  if (options.hook_arguments[1] == "release") {
    GiveMemoryBack(options);
  } else {
    ReplaceXml();
  }
  return 0;
}

}  // namespace live_update
