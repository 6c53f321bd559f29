// handover_dump [--json] FILE | --live: prints handover images and verifies all
// of each, for support. Guest memory and device state are printed only as sizes
// and CRCs. (Domain XML may hold secrets: only its size, without --domain-xml.)
// The Debian package has it as host-update-dump.
//
// Exit status: 0 all is well, 1 an image is refused, 2 some VM's section or RAM
// is, or RAM can't be verified.

#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <iostream>
#include <memory>
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
#include "state_preserve/luo_memory.h"

namespace live_update {
namespace {

struct Options {
  std::string path;
  bool live = false;
  std::string dax_dir = "/var/lib/host-update/ram";
  std::string run_dir = "/run/host-update";
  std::string key_path;
  bool as_json = false;
  bool verify_ram = false;
  HandoverTextOptions text;
};

// What is to be shown.
struct Image {
  std::string name;
  absl::Span<const uint8_t> bytes;
  bool has_ram_beside = true;  // RAM lies in files at `name`'s folder.
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

absl::Status VerifyRamOf(const Image& image, const IncomingVm& vm) {
  if (image.has_ram_beside) {
    return VerifyStoredRam(image.name, vm, std::thread::hardware_concurrency());
  }
  return absl::UnimplementedError(absl::StrCat(
      "not compared: to read it is to retrieve it, which the kernel does once, "
      "charges to who asks, and which loses the VM if it fails; `host-update "
      "restore --retry ",
      vm.record.name(), "` compares it before the VM runs"));
}

std::vector<absl::Status> VerifyAllRam(const Image& image,
                                       const HandoverReader& reader) {
  std::vector<absl::Status> verdicts;
  for (size_t i = 0; i < reader.vms().size(); ++i) {
    const absl::StatusOr<IncomingVm> vm = reader.ReadVm(i);
    verdicts.push_back(vm.ok() ? VerifyRamOf(image, *vm) : vm.status());
  }
  return verdicts;
}

int Show(const Image& image, const HandoverKey* key, Options& options) {
  const absl::StatusOr<HandoverReader> reader = OpenImage(image.bytes, key);
  if (!reader.ok()) {
    std::cerr << image.name << ": refused: " << reader.status().message()
              << "\n";
    return 1;
  }
  options.text.ram_verdicts.clear();
  if (options.verify_ram) {
    options.text.ram_verdicts = VerifyAllRam(image, *reader);
  }
  std::cout << (options.as_json ? HandoverToJson(*reader, options.text)
                                : HandoverToText(*reader, options.text));
  const bool ram_is_well = std::all_of(
      options.text.ram_verdicts.begin(), options.text.ram_verdicts.end(),
      [](const absl::Status& status) { return status.ok(); });
  return CountTornVms(*reader) == 0 && ram_is_well ? 0 : 2;
}

int ShowFile(const std::string& path, const HandoverKey* key,
             Options& options) {
  const absl::StatusOr<MappedRegion> file = MapFile(path);
  if (!file.ok()) {
    std::cerr << file.status().message() << "\n";
    return 1;
  }
  return Show({.name = path, .bytes = file->bytes()}, key, options);
}

using IncomingSets = std::vector<std::unique_ptr<IncomingPreservation>>;

// What the keeper has. Not what is in the kernel alone: a look would take it.
absl::StatusOr<IncomingSets> LuoSets(const std::string& run_dir) {
  LU_ASSIGN_OR_RETURN(const auto memory, LuoMemory::Open({.run_dir = run_dir}));
  return memory->Unfinished();
}

// All of this host, of either backend.
int ShowLive(const HandoverKey* key, Options& options) {
  const absl::StatusOr<std::vector<std::string>> paths =
      FindHandovers(options.dax_dir);
  const absl::StatusOr<IncomingSets> sets = LuoSets(options.run_dir);
  if (!paths.ok() && !sets.ok()) {
    std::cerr << "dax: " << paths.status().message()
              << "\nluo: " << sets.status().message() << "\n";
    return 1;
  }
  // A refused image is worse than a torn VM.
  int worst = 0;
  const auto count = [&worst](int status) {
    if (status != 0 && worst != 1) worst = status;
  };
  bool any = false;
  if (paths.ok()) {
    for (const std::string& path : *paths) {
      any = true;
      if (!options.as_json) std::cout << path << "\n";
      count(ShowFile(path, key, options));
    }
  }
  if (sets.ok()) {
    for (const auto& set : *sets) {
      any = true;
      const Image image{.name = absl::StrCat("luo, update ", set->update_id()),
                        .bytes = set->image(),
                        .has_ram_beside = false};
      if (!options.as_json) std::cout << image.name << "\n";
      count(Show(image, key, options));
    }
  }
  if (!any) {
    std::cerr
        << "no handover; with luo, one that `host-update restore` has not "
           "retrieved yet is not shown\n";
  }
  return worst;
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
  return options.live ? ShowLive(key_or_null, options)
                      : ShowFile(options.path, key_or_null, options);
}

}  // namespace
}  // namespace live_update

// CLI11 throws what CLI11_PARSE does not catch only where its options are
// misused. NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  CLI::App app("Prints and verifies handover images.", "host-update-dump");
  live_update::Options options;
  auto* file = app.add_option("FILE", options.path, "the image");
  auto* live = app.add_flag(
      "--live", options.live,
      "all that lie in this host's preserved memory; takes nothing from there");
  file->excludes(live);
  app.add_option("--dax-dir", options.dax_dir,
                 "with --live: where the DAX file system is mounted")
      ->capture_default_str();
  app.add_option("--run-dir", options.run_dir,
                 "with --live: where the keeper of luo sessions listens")
      ->capture_default_str();
  app.add_option("--handover-key", options.key_path,
                 "check the image's MAC with the key in this file");
  app.add_flag("--verify-ram", options.verify_ram,
               "compare RAM that lies beside the image, of VMs that do not "
               "run, with its digests; not of luo, where that is for "
               "`host-update restore --retry VM`");
  app.add_flag("--json", options.as_json,
               "as JSON, for programs: one object a line");
  app.add_flag("--domain-xml", options.text.with_domain_xml,
               "with the VMs' domain XML, which may hold secrets");
  CLI11_PARSE(app, argc, argv);
  if (options.path.empty() && !options.live) {
    std::cerr << "host-update-dump: give an image, or --live\n";
    return 1;
  }
  return live_update::Run(options);
}
