#include "host_update/ctl/console.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

namespace live_update::ctl {
namespace {

void Write(std::FILE* file, absl::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

}  // namespace

Console SystemConsole() {
  Console console;
  console.out = [](absl::string_view text) { Write(stdout, text); };
  console.err = [](absl::string_view text) { Write(stderr, text); };
  console.read_line = []() -> std::optional<std::string> {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  };
  console.in_terminal = isatty(STDIN_FILENO) == 1;
  console.out_terminal = isatty(STDOUT_FILENO) == 1;
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) == 0) console.host_name = name;
  return console;
}

}  // namespace live_update::ctl
