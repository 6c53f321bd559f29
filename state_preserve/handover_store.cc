#include "state_preserve/handover_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "state_preserve/dax_store.h"
#include "state_preserve/names.h"
#include "state_preserve/ram_digest.h"

namespace live_update {
namespace {

namespace fs = std::filesystem;

absl::Status ErrorOf(const std::error_code& error, const fs::path& path) {
  return absl::ErrnoToStatus(error.value(),
                             absl::StrCat("read ", path.c_str()));
}

// Opens `path`, which is none of ours to trust: a link or a FIFO is no RAM.
absl::StatusOr<std::unique_ptr<UniqueFd>> OpenRam(const std::string& path) {
  auto fd = std::make_unique<UniqueFd>(
      open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat file {};
  if (!fd->ok() || fstat(fd->get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  }
  if (!S_ISREG(file.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": not a regular file"));
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindHandovers(
    const std::string& mount) {
  const fs::path store = fs::path(mount) / kStoreName;
  std::error_code error;
  if (!fs::is_directory(store, error)) {
    return absl::NotFoundError(absl::StrCat("no preserved memory in ", mount,
                                            " (no ", store.c_str(), ")"));
  }
  std::vector<std::string> incoming;
  const fs::path parent = store / kIncomingName;
  if (fs::is_directory(parent, error)) {
    fs::directory_iterator entry(parent, error);
    while (!error && entry != fs::directory_iterator()) {
      incoming.push_back(entry->path() / kHandoverName);
      entry.increment(error);
    }
    if (error) return ErrorOf(error, parent);
  }
  std::sort(incoming.begin(), incoming.end());

  std::vector<std::string> found;
  incoming.insert(incoming.begin(), store / kOutgoingName / kHandoverName);
  for (const std::string& path : incoming) {
    if (fs::exists(path, error)) found.push_back(path);
  }
  return found;
}

absl::Status VerifyStoredRam(const std::string& image_path,
                             const IncomingVm& vm, size_t threads) {
  if (!vm.ram_digests.has_value()) return absl::OkStatus();
  const fs::path folder =
      fs::path(image_path).parent_path() / kRamName / vm.record.uuid();
  std::vector<std::unique_ptr<UniqueFd>> fds;
  std::vector<RamToDigest> blocks;
  for (const RamBlock& block : vm.record.blocks()) {
    if (!block.has_in_place()) continue;
    absl::StatusOr<std::unique_ptr<UniqueFd>> fd =
        OpenRam(folder / EncodeFileName(block.name()));
    if (!fd.ok()) return fd.status();
    fds.push_back(*std::move(fd));
    blocks.push_back({.name = block.name(),
                      .size_bytes = block.size_bytes(),
                      .fd = fds.back().get()});
  }
  return VerifyRam(*vm.ram_digests, blocks, threads, absl::InfiniteFuture());
}

}  // namespace live_update
