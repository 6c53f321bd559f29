// handover_dump [--json] FILE | --live: prints handover images and verifies all
// of each, for support. Guest memory and device state are printed only as sizes
// and CRCs. (Domain XML may hold secrets: only its size, without --domain-xml.)
//
// Exit status: 0 all is well, 1 an image is refused, 2 some VM's section or RAM
// is.

#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/mapped_region.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "state_preserve/handover_key.h"
#include "state_preserve/handover_reader.h"
#include "state_preserve/handover_store.h"
#include "state_preserve/handover_text.h"

namespace live_update {
namespace {

struct Options {
  std::string path;
  bool live = false;
  std::string dax_dir = "/var/lib/host-update/ram";
  std::string key_path;
  bool as_json = false;
  bool verify_ram = false;
  HandoverTextOptions text;
};

absl::StatusOr<MappedRegion> MapFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat file {};
  if (!fd.ok() || fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  }
  if (file.st_size == 0) return MappedRegion();  // The reader says what it is.
  return MappedRegion::MapReadOnly(fd, static_cast<uint64_t>(file.st_size));
}

// With a key the image must bear its MAC; without one it is shown unchecked.
absl::StatusOr<HandoverReader> OpenImage(absl::Span<const uint8_t> image,
                                         const HandoverKey* key) {
  return key != nullptr ? HandoverReader::Open(image, key)
                        : HandoverReader::OpenUnverified(image);
}

std::vector<absl::Status> VerifyAllRam(const std::string& path,
                                       const HandoverReader& reader) {
  std::vector<absl::Status> verdicts;
  for (size_t i = 0; i < reader.vms().size(); ++i) {
    const absl::StatusOr<IncomingVm> vm = reader.ReadVm(i);
    verdicts.push_back(
        vm.ok()
            ? VerifyStoredRam(path, *vm, std::thread::hardware_concurrency())
            : vm.status());
  }
  return verdicts;
}

int Show(const std::string& path, const HandoverKey* key, Options& options) {
  const absl::StatusOr<MappedRegion> file = MapFile(path);
  if (!file.ok()) {
    std::cerr << file.status().message() << "\n";
    return 1;
  }
  const absl::StatusOr<HandoverReader> reader = OpenImage(file->bytes(), key);
  if (!reader.ok()) {
    std::cerr << path << ": refused: " << reader.status().message() << "\n";
    return 1;
  }
  options.text.ram_verdicts.clear();
  if (options.verify_ram) {
    options.text.ram_verdicts = VerifyAllRam(path, *reader);
  }
  std::cout << (options.as_json ? HandoverToJson(*reader, options.text)
                                : HandoverToText(*reader, options.text));
  const bool ram_is_well = std::all_of(
      options.text.ram_verdicts.begin(), options.text.ram_verdicts.end(),
      [](const absl::Status& status) { return status.ok(); });
  return CountTornVms(*reader) == 0 && ram_is_well ? 0 : 2;
}

int Run(Options& options) {
  std::optional<HandoverKey> key;
  if (!options.key_path.empty()) {
    absl::StatusOr<HandoverKey> given = HandoverKey::FromFile(options.key_path);
    if (!given.ok()) {
      std::cerr << given.status().message() << "\n";
      return 1;
    }
    key = *std::move(given);
  }
  const HandoverKey* const key_or_null = key.has_value() ? &*key : nullptr;
  if (!options.live) return Show(options.path, key_or_null, options);

  const absl::StatusOr<std::vector<std::string>> paths =
      FindHandovers(options.dax_dir);
  if (!paths.ok()) {
    std::cerr << paths.status().message() << "\n";
    return 1;
  }
  if (paths->empty()) std::cerr << "no handover in " << options.dax_dir << "\n";
  int worst = 0;
  for (const std::string& path : *paths) {
    if (!options.as_json) std::cout << path << "\n";
    const int status = Show(path, key_or_null, options);
    // A refused image is worse than a torn VM.
    if (status != 0 && worst != 1) worst = status;
  }
  return worst;
}

}  // namespace
}  // namespace live_update

// CLI11 throws what CLI11_PARSE does not catch only where its options are
// misused. NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  CLI::App app("Prints and verifies handover images.", "handover_dump");
  live_update::Options options;
  auto* file = app.add_option("FILE", options.path, "the image");
  auto* live = app.add_flag(
      "--live", options.live,
      "all that lie in this host's preserved memory; takes nothing from there");
  file->excludes(live);
  app.add_option("--dax-dir", options.dax_dir,
                 "with --live: where the DAX file system is mounted")
      ->capture_default_str();
  app.add_option("--handover-key", options.key_path,
                 "check the image's MAC with the key in this file");
  app.add_flag("--verify-ram", options.verify_ram,
               "compare RAM that lies beside the image, of VMs that do not "
               "run, with its digests");
  app.add_flag("--json", options.as_json,
               "as JSON, for programs: one object a line");
  app.add_flag("--domain-xml", options.text.with_domain_xml,
               "with the VMs' domain XML, which may hold secrets");
  CLI11_PARSE(app, argc, argv);
  if (options.path.empty() && !options.live) {
    std::cerr << "handover_dump: give an image, or --live\n";
    return 1;
  }
  return live_update::Run(options);
}
