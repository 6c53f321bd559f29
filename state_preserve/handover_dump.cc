// handover_dump [--json] FILE: prints a handover image and verifies all of it,
// offline, for support. Guest memory and device state are printed only as sizes
// and CRCs. (Domain XML may hold secrets: only its size, without --domain-xml.)
//
// Exit status: 0 all is well, 1 the image is refused, 2 some VM's section is.

#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/mapped_region.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/handover_text.h"

namespace live_update {
namespace {

absl::StatusOr<MappedRegion> MapFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat file {};
  if (!fd.ok() || fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  }
  if (file.st_size == 0) return MappedRegion();  // The reader says what it is.
  return MappedRegion::MapReadOnly(fd, static_cast<uint64_t>(file.st_size));
}

int Run(const std::string& path, const HandoverTextOptions& options,
        bool as_json) {
  const absl::StatusOr<MappedRegion> file = MapFile(path);
  if (!file.ok()) {
    std::cerr << file.status().message() << "\n";
    return 1;
  }
  const absl::StatusOr<HandoverReader> reader =
      HandoverReader::Open(file->bytes());
  if (!reader.ok()) {
    std::cerr << path << ": refused: " << reader.status().message() << "\n";
    return 1;
  }
  std::cout << (as_json ? HandoverToJson(*reader, options)
                        : HandoverToText(*reader, options));
  return CountTornVms(*reader) == 0 ? 0 : 2;
}

}  // namespace
}  // namespace live_update

// CLI11 throws what CLI11_PARSE does not catch only where its options are
// misused. NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  CLI::App app("Prints and verifies a handover image.", "handover_dump");
  std::string path;
  bool as_json = false;
  live_update::HandoverTextOptions options;
  app.add_option("FILE", path, "the image")->required();
  app.add_flag("--json", as_json, "as JSON, for programs");
  app.add_flag("--domain-xml", options.with_domain_xml,
               "with the VMs' domain XML, which may hold secrets");
  CLI11_PARSE(app, argc, argv);
  return live_update::Run(path, options, as_json);
}
