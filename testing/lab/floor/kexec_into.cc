// kexec_into [--direct-jump=vmlinux|bzimage] [--stage-only] KERNEL INITRD
// COMMAND_LINE: jumps at once, without a shutdown. Says so on the console
// first, so that the time of the jump is known outside. INITRD "" is none.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "loader/linux_kexec.h"

namespace {

using ::live_update::UniqueFd;
using ::live_update::loader::DirectEntry;

constexpr std::string_view kDirectVmlinux = "--direct-jump=vmlinux";
constexpr std::string_view kDirectBzImage = "--direct-jump=bzimage";
constexpr std::string_view kStageOnly = "--stage-only";

absl::Status Stage(live_update::loader::Kexec& kexec, std::string_view how,
                   char** files) {
  const UniqueFd kernel(open(files[0], O_RDONLY | O_CLOEXEC));
  const UniqueFd initrd(
      *files[1] == '\0' ? -1 : open(files[1], O_RDONLY | O_CLOEXEC));
  if (how.empty()) return kexec.StageFile(kernel, initrd, files[2]);
  return kexec.StageDirect(
      kernel, initrd, files[2],
      how == kDirectVmlinux ? DirectEntry::kVmlinux : DirectEntry::kBzImage,
      /*untouched=*/{});
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view how;
  bool stage_only = false;
  int words = 1;
  for (; words < argc && std::string_view(argv[words]).starts_with("--");
       ++words) {
    const std::string_view word = argv[words];
    if (word == kStageOnly) {
      stage_only = true;
    } else {
      how = word;
    }
  }
  if (argc - words != 3 ||
      (!how.empty() && how != kDirectVmlinux && how != kDirectBzImage)) {
    std::fprintf(
        stderr, "usage: kexec_into [%s|%s] [%s] KERNEL INITRD COMMAND_LINE\n",
        kDirectVmlinux.data(), kDirectBzImage.data(), kStageOnly.data());
    return 64;
  }
  live_update::loader::LinuxKexec kexec;
  const absl::Status staged = Stage(kexec, how, argv + words);
  if (!staged.ok()) return Fail(staged);
  if (stage_only) return 0;
  sync();
  const int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  constexpr std::string_view kLine = "\nFLOOR jump\n";
  if (write(console, kLine.data(), kLine.size()) < 0) std::perror("console");
  return Fail(kexec.Jump());
}
