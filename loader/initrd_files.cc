#include "loader/initrd_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace live_update::loader {
namespace {

constexpr size_t kMaxPath = 4096;  // The kernel's PATH_MAX.
constexpr size_t kAlignment = 4;   // Of names and contents.

void Pad(std::string& archive) {
  archive.append((kAlignment - archive.size() % kAlignment) % kAlignment, '\0');
}

// Header ("070701" and 13 numbers of eight hexadecimal digits: inode, mode,
// user, group, links, time, size, four of devices, length of the name, check),
// name, content.
void AddMember(uint32_t inode, const InitrdFile& file, std::string& archive) {
  archive += "070701";
  for (const uint32_t number :
       {inode, file.mode, 0u, 0u, 1u, 0u,
        static_cast<uint32_t>(file.content.size()), 0u, 0u, 0u, 0u,
        static_cast<uint32_t>(file.path.size() + 1), 0u}) {
    absl::StrAppendFormat(&archive, "%08x", number);
  }
  archive += file.path;
  archive += '\0';
  Pad(archive);
  archive += file.content;
  Pad(archive);
}

absl::StatusOr<std::string> MakeArchive(const std::vector<InitrdFile>& files) {
  std::string archive;
  uint32_t inode = 0;
  for (const InitrdFile& file : files) {
    if (file.path.empty() || file.path.size() >= kMaxPath ||
        file.content.size() > std::numeric_limits<uint32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a path of ", file.path.size(), " and a file of ",
                       file.content.size(), " bytes for the initrd"));
    }
    AddMember(++inode, file, archive);
  }
  AddMember(0, {.path = "TRAILER!!!"}, archive);
  return archive;
}

absl::Status CopyWhole(const UniqueFd& from, const UniqueFd& to) {
  struct stat info {};
  if (fstat(from.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, "stat the initrd");
  }
  if (info.st_size > static_cast<off_t>(kMaxInitrdBytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("an initrd of ", info.st_size, " bytes"));
  }
  off_t at = 0;
  while (at < info.st_size) {
    const ssize_t count =
        sendfile(to.get(), from.get(), &at, info.st_size - at);
    if (count < 0) return absl::ErrnoToStatus(errno, "copy the initrd");
    if (count == 0) {
      return absl::AbortedError(absl::StrCat("the initrd ended at ", at, " of ",
                                             info.st_size, " bytes"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> PrependFiles(const UniqueFd& initrd,
                                      const std::vector<InitrdFile>& files) {
  LU_ASSIGN_OR_RETURN(const std::string archive, MakeArchive(files));
  UniqueFd whole(
      memfd_create("host-update-initrd", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!whole.ok()) return absl::ErrnoToStatus(errno, "memfd_create");
  LU_RETURN_IF_ERROR(WriteAll(whole, archive));
  LU_RETURN_IF_ERROR(CopyWhole(initrd, whole));
  if (fcntl(whole.get(), F_ADD_SEALS,
            F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    return absl::ErrnoToStatus(errno, "seal the initrd");
  }
  // kexec_file_load(2) reads from where the file is at.
  if (lseek(whole.get(), 0, SEEK_SET) != 0) {
    return absl::ErrnoToStatus(errno, "seek in the initrd");
  }
  return whole;
}

}  // namespace live_update::loader
