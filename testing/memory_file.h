// Memory files as QEMU makes them for guest RAM, and what is in them.

#ifndef TESTING_MEMORY_FILE_H_
#define TESTING_MEMORY_FILE_H_

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/unique_fd.h"

namespace live_update::testing {

// A memfd of `size_bytes`, or of as many as `contents` has, with which it
// begins.
inline UniqueFd MakeMemfd(const std::string& contents,
                          uint64_t size_bytes = 0) {
  UniqueFd fd(memfd_create("memory-backend-memfd", MFD_CLOEXEC));
  size_bytes = std::max<uint64_t>(size_bytes, contents.size());
  if (ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0 ||
      pwrite(fd.get(), contents.data(), contents.size(), 0) !=
          static_cast<ssize_t>(contents.size())) {
    std::abort();
  }
  return fd;
}

inline struct stat StatOf(const UniqueFd& fd) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) std::abort();
  return file;
}

inline ino_t InodeOf(const UniqueFd& fd) { return StatOf(fd).st_ino; }

inline uint64_t SizeOf(const UniqueFd& fd) {
  return static_cast<uint64_t>(StatOf(fd).st_size);
}

// The first `size` bytes, or all; less if there are less.
inline std::string ContentsOf(const UniqueFd& fd, size_t size = SIZE_MAX) {
  std::string contents(std::min<size_t>(size, SizeOf(fd)), '\0');
  if (pread(fd.get(), contents.data(), contents.size(), 0) !=
      static_cast<ssize_t>(contents.size())) {
    std::abort();
  }
  return contents;
}

}  // namespace live_update::testing

#endif  // TESTING_MEMORY_FILE_H_
