#include "testing/lab/guest/console.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>

void Print(const char* format, ...) {
  std::array<char, 256> line{};
  std::va_list arguments;
  va_start(arguments, format);
  const int length =
      std::vsnprintf(line.data(), line.size() - 1, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  const size_t used = std::min<size_t>(length, line.size() - 2);
  line[used] = '\n';
  // One write: the terminal keeps it in one piece.
  if (write(STDOUT_FILENO, line.data(), used + 1) < 0) return;
}

void PrintFailure(const char* what) {
  Print("FAIL %s: %s", what, std::strerror(errno));
}
