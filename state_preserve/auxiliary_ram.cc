#include "state_preserve/auxiliary_ram.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "state_preserve/format.h"
#include "state_preserve/handover_rules.h"

namespace live_update {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kChunkBytes = 64 * kPageBytes;

bool IsZero(absl::string_view bytes) {
  return bytes.empty() ||
         (bytes.front() == 0 &&
          std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Appends to `ram`'s extents what is not zero, page by page.
class ExtentBuilder {
 public:
  explicit ExtentBuilder(AuxiliaryRam* ram) : ram_(ram) {}

  absl::Status Add(uint64_t offset, absl::string_view bytes) {
    while (!bytes.empty()) {
      const absl::string_view page =
          bytes.substr(0, kPageBytes - offset % kPageBytes);
      if (!IsZero(page)) AddPage(offset, page);
      offset += page.size();
      bytes.remove_prefix(page.size());
    }
    if (stored_bytes_ > kMaxAuxiliaryRamBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "more than ", kMaxAuxiliaryRamBytes, " bytes are not zero"));
    }
    return absl::OkStatus();
  }

 private:
  void AddPage(uint64_t offset, absl::string_view page) {
    if (extent_ == nullptr || offset != end_) {
      extent_ = ram_->add_extents();
      extent_->set_offset(offset);
    }
    extent_->mutable_data()->append(page.data(), page.size());
    stored_bytes_ += page.size();
    end_ = offset + page.size();
  }

  AuxiliaryRam* const ram_;
  AuxiliaryRam::Extent* extent_ = nullptr;
  uint64_t end_ = 0;  // Of `extent_`, in the block.
  uint64_t stored_bytes_ = 0;
};

struct Run {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// The next run of data at or after `offset`, cut at `size_bytes`; empty if
// there is none. A file that knows no holes is one run.
absl::StatusOr<Run> NextRun(const UniqueFd& fd, uint64_t offset,
                            uint64_t size_bytes) {
  const off_t begin = lseek(fd.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (begin < 0) {
    if (errno == ENXIO) return Run{size_bytes, size_bytes};
    if (errno == EINVAL) return Run{offset, size_bytes};
    return absl::ErrnoToStatus(errno, "seek to data");
  }
  const off_t end = lseek(fd.get(), begin, SEEK_HOLE);
  if (end < 0 && errno != ENXIO) {
    return absl::ErrnoToStatus(errno, "seek to hole");
  }
  const uint64_t found = static_cast<uint64_t>(begin);
  const uint64_t until = end < 0 ? size_bytes : static_cast<uint64_t>(end);
  return Run{std::min(found, size_bytes), std::min(until, size_bytes)};
}

absl::Status ReadRun(const UniqueFd& fd, const Run& run, std::string* buffer,
                     ExtentBuilder* extents) {
  for (uint64_t offset = run.begin; offset < run.end;) {
    const uint64_t wanted = std::min(kChunkBytes, run.end - offset);
    const ssize_t got =
        pread(fd.get(), buffer->data(), wanted, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "read");
    if (got == 0) return absl::OutOfRangeError("became shorter");
    LU_RETURN_IF_ERROR(extents->Add(offset, absl::string_view(*buffer).substr(
                                                0, static_cast<size_t>(got))));
    offset += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::Status ReadExtents(const UniqueFd& fd, AuxiliaryRam* ram) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, "stat");
  const uint64_t size_bytes = ram->size_bytes();
  if (!S_ISREG(file.st_mode) ||
      static_cast<uint64_t>(file.st_size) < size_bytes) {
    return absl::OutOfRangeError(
        absl::StrCat("has ", file.st_size, " bytes of ", size_bytes));
  }
  std::string buffer(kChunkBytes, '\0');
  ExtentBuilder extents(ram);
  for (uint64_t offset = 0; offset < size_bytes;) {
    LU_ASSIGN_OR_RETURN(const Run run, NextRun(fd, offset, size_bytes));
    LU_RETURN_IF_ERROR(ReadRun(fd, run, &buffer, &extents));
    offset = run.end;
  }
  return absl::OkStatus();
}

absl::Status FillFile(const UniqueFd& fd, const AuxiliaryRam& ram) {
  if (ftruncate(fd.get(), static_cast<off_t>(ram.size_bytes())) != 0) {
    return absl::ErrnoToStatus(errno, "set the size");
  }
  for (const AuxiliaryRam::Extent& extent : ram.extents()) {
    for (uint64_t done = 0; done < extent.data().size();) {
      const ssize_t put = pwrite(fd.get(), extent.data().data() + done,
                                 extent.data().size() - done,
                                 static_cast<off_t>(extent.offset() + done));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return absl::ErrnoToStatus(errno, "write");
      done += static_cast<uint64_t>(put);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AuxiliaryRam> ReadAuxiliaryRam(const UniqueFd& fd,
                                              absl::string_view name,
                                              uint64_t size_bytes) {
  const std::string context = absl::StrCat("auxiliary RAM ", name);
  AuxiliaryRam ram;
  ram.set_name(std::string(name));
  ram.set_size_bytes(size_bytes);
  LU_RETURN_IF_ERROR(Annotate(CheckAuxiliaryRam(ram), context));
  LU_RETURN_IF_ERROR(Annotate(ReadExtents(fd, &ram), context));
  return ram;
}

absl::StatusOr<UniqueFd> WriteAuxiliaryRam(const AuxiliaryRam& ram) {
  const std::string context = absl::StrCat("auxiliary RAM ", ram.name());
  LU_RETURN_IF_ERROR(Annotate(CheckAuxiliaryRam(ram), context));
  UniqueFd fd(memfd_create(ram.name().substr(0, 200).c_str(), MFD_CLOEXEC));
  if (!fd.ok()) {
    return absl::ErrnoToStatus(errno, absl::StrCat(context, ": memfd_create"));
  }
  LU_RETURN_IF_ERROR(Annotate(FillFile(fd, ram), context));
  return fd;
}

}  // namespace live_update
