#include "host_update/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace live_update {
namespace {

constexpr uint64_t kLongestJournal = 4 << 20;  // Bytes; 4096 VMs need 500 KiB.

std::string JournalPath(const std::string& run_dir) {
  return absl::StrCat(run_dir, "/journal");
}

}  // namespace

absl::StatusOr<RunLock> RunLock::Acquire(const std::string& run_dir) {
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  if (chmod(run_dir.c_str(), 0711) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("make ", run_dir));
  }
  const std::string path = absl::StrCat(run_dir, "/lock");
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t length = pread(fd.get(), holder, sizeof(holder) - 1, 0);
    return absl::UnavailableError(absl::StrCat(
        "another update, restore or abort is under way on this host (process ",
        length > 0 ? holder : "unknown",
        "); wait for it or look at `host-update status`"));
  }
  const std::string self = absl::StrCat(getpid());
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), self.data(), self.size(), 0) !=
          static_cast<ssize_t>(self.size())) {
    return absl::ErrnoToStatus(errno, absl::StrCat("write ", path));
  }
  return RunLock(std::move(fd));
}

absl::Status WriteJournal(const std::string& run_dir, const Journal& journal) {
  return Annotate(WriteFileAtomically(JournalPath(run_dir),
                                      journal.SerializeAsString(), 0600),
                  "write the update's journal");
}

absl::StatusOr<std::optional<Journal>> ReadJournal(const std::string& run_dir) {
  absl::StatusOr<std::string> bytes =
      ReadFile(JournalPath(run_dir), kLongestJournal);
  if (absl::IsNotFound(bytes.status())) return std::nullopt;
  if (!bytes.ok()) return bytes.status();
  Journal journal;
  if (!journal.ParseFromString(*bytes)) {
    return absl::DataLossError(
        absl::StrCat(JournalPath(run_dir), " is no journal (", bytes->size(),
                     " bytes); look at `virsh list` for paused VMs, resume "
                     "them, then remove the file"));
  }
  return journal;
}

absl::Status RemoveJournal(const std::string& run_dir) {
  return RemoveIfThere(JournalPath(run_dir));
}

}  // namespace live_update
