// Owner of one memory mapping of a file.

#ifndef BASE_MAPPED_REGION_H_
#define BASE_MAPPED_REGION_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"

namespace live_update {

// Move-only; unmaps when it goes. Default-constructed it holds nothing, and
// bytes() is empty. The file may be closed while it is mapped.
//
// NOTE: reading a page that another process has cut off the file kills us with
// SIGBUS. Map only files that nobody less trusted may truncate.
class MappedRegion {
 public:
  // Maps [0, size_bytes) of `fd`, shared with all others who map it.
  // `size_bytes` > 0 and not past the file's end: kOutOfRange.
  static absl::StatusOr<MappedRegion> MapReadOnly(const UniqueFd& fd,
                                                  uint64_t size_bytes);
  static absl::StatusOr<MappedRegion> MapReadWrite(const UniqueFd& fd,
                                                   uint64_t size_bytes);

  MappedRegion() = default;
  MappedRegion(MappedRegion&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  MappedRegion& operator=(MappedRegion&& other) noexcept;
  ~MappedRegion() { Unmap(); }

  absl::Span<const uint8_t> bytes() const {
    return absl::MakeConstSpan(address_, size_bytes_);
  }
  // Only of a region from MapReadWrite().
  absl::Span<uint8_t> mutable_bytes() {
    return absl::MakeSpan(address_, size_bytes_);
  }

  // Writes all pages to where the file is kept (msync) and waits for it.
  absl::Status Sync() const;

 private:
  MappedRegion(uint8_t* address, size_t size_bytes)
      : address_(address), size_bytes_(size_bytes) {}
  static absl::StatusOr<MappedRegion> Map(const UniqueFd& fd,
                                          uint64_t size_bytes, int protection);
  void Unmap();

  uint8_t* address_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace live_update

#endif  // BASE_MAPPED_REGION_H_
