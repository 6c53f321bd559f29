#include "host_update/early_init/steps.h"

#include <charconv>

namespace live_update {
namespace {

constexpr std::string_view kNoData = "-";

// Splits at each `separator`; keeps empty pieces.
std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (true) {
    const size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *number);
  return result.ec == std::errc() && result.ptr == end;
}

bool ParseIdentity(const std::vector<std::string_view>& words,
                   EarlyIdentity* identity) {
  identity->path = words[1];
  return identity->path.front() == '/' &&
         ParseNumber(words[2], &identity->inode) &&
         ParseNumber(words[3], &identity->changed_s) &&
         ParseNumber(words[4], &identity->changed_ns);
}

bool ParseMount(const std::vector<std::string_view>& words, EarlyMount* mount) {
  mount->type = words[2];
  mount->device = words[3];
  mount->directory = words[4];
  if (words[5] != kNoData) mount->data = words[5];
  return ParseNumber(words[1], &mount->flags) && mount->device.front() == '/' &&
         mount->directory.front() == '/';
}

bool ParseLine(std::string_view line, EarlySteps* steps) {
  const std::vector<std::string_view> words = Split(line, ' ');
  for (const std::string_view word : words) {
    if (word.empty()) return false;
  }
  if (words[0] == "module" && words.size() == 2) {
    steps->modules.emplace_back(words[1]);
    return true;
  }
  if (words[0] == "identity" && words.size() == 5) {
    return ParseIdentity(words, &steps->identity);
  }
  if (words[0] == "mount" && words.size() == 6) {
    return ParseMount(words, &steps->mounts.emplace_back());
  }
  return false;
}

}  // namespace

std::string FormatEarlySteps(const EarlySteps& steps) {
  std::string text;
  const auto line = [&text](const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      text += word;
      text += &word == &words.back() ? '\n' : ' ';
    }
  };
  for (const std::string& module : steps.modules) line({"module", module});
  line({"identity", steps.identity.path, std::to_string(steps.identity.inode),
        std::to_string(steps.identity.changed_s),
        std::to_string(steps.identity.changed_ns)});
  for (const EarlyMount& mount : steps.mounts) {
    line({"mount", std::to_string(mount.flags), mount.type, mount.device,
          mount.directory,
          mount.data.empty() ? std::string(kNoData) : mount.data});
  }
  return text;
}

std::optional<EarlySteps> ParseEarlySteps(std::string_view text) {
  if (text.size() > kMaxEarlySteps || text.empty() || text.back() != '\n') {
    return std::nullopt;
  }
  text.remove_suffix(1);
  EarlySteps steps;
  for (const std::string_view line : Split(text, '\n')) {
    if (!ParseLine(line, &steps)) return std::nullopt;
  }
  if (steps.identity.path.empty() || steps.mounts.empty() ||
      steps.mounts.front().directory != "/") {
    return std::nullopt;
  }
  return steps;
}

}  // namespace live_update
