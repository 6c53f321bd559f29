#include "base/mapped_region.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace live_update {

absl::StatusOr<MappedRegion> MappedRegion::Map(const UniqueFd& fd,
                                               uint64_t size_bytes,
                                               int protection) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, "stat a file to be mapped");
  }
  if (size_bytes == 0 || size_bytes > static_cast<uint64_t>(file.st_size)) {
    return absl::OutOfRangeError(absl::StrCat(
        "can't map ", size_bytes, " bytes of a file of ", file.st_size));
  }
  void* address =
      mmap(nullptr, size_bytes, protection, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) {
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("map ", size_bytes, " bytes"));
  }
  return MappedRegion(static_cast<uint8_t*>(address), size_bytes);
}

absl::StatusOr<MappedRegion> MappedRegion::MapReadOnly(const UniqueFd& fd,
                                                       uint64_t size_bytes) {
  return Map(fd, size_bytes, PROT_READ);
}

absl::StatusOr<MappedRegion> MappedRegion::MapReadWrite(const UniqueFd& fd,
                                                        uint64_t size_bytes) {
  return Map(fd, size_bytes, PROT_READ | PROT_WRITE);
}

MappedRegion& MappedRegion::operator=(MappedRegion&& other) noexcept {
  if (this != &other) {
    Unmap();
    address_ = std::exchange(other.address_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
  }
  return *this;
}

absl::Status MappedRegion::Sync() const {
  if (address_ != nullptr && msync(address_, size_bytes_, MS_SYNC) != 0) {
    return absl::ErrnoToStatus(errno, "msync");
  }
  return absl::OkStatus();
}

void MappedRegion::Unmap() {
  if (address_ != nullptr) munmap(address_, size_bytes_);
  address_ = nullptr;
  size_bytes_ = 0;
}

}  // namespace live_update
