#include "loader/command_line.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace live_update::loader {
namespace {

// A word cut in name and value, quotes taken off where lib/cmdline.c's
// next_arg() takes them off: `a="b c"`, `"a=b c"`.
Parameter MakeParameter(absl::string_view word) {
  Parameter parameter;
  parameter.word = word;
  absl::string_view rest = word;
  const bool quoted = absl::ConsumePrefix(&rest, "\"");
  if (quoted) absl::ConsumeSuffix(&rest, "\"");
  // A '=' in the first place is part of the name.
  const size_t equals = rest.find('=', 1);
  if (equals == absl::string_view::npos) {
    parameter.name = rest;
    return parameter;
  }
  parameter.name = rest.substr(0, equals);
  parameter.value = rest.substr(equals + 1);
  parameter.has_value = true;
  if (absl::ConsumePrefix(&parameter.value, "\"")) {
    absl::ConsumeSuffix(&parameter.value, "\"");
  }
  return parameter;
}

bool ShapesMemoryMap(const Parameter& parameter) {
  return parameter.has_value &&
         (parameter.name == "memmap" || parameter.name == "mem" ||
          parameter.name == "efi_fake_mem");
}

// Words of which order and number mean something.
bool IsPositional(const Parameter& parameter) {
  return ShapesMemoryMap(parameter) || parameter.name == "console";
}

// What the boot loader or EFI stub put there for the boot that has been.
bool ConcernsOnlyThisBoot(const Parameter& parameter) {
  return parameter.name == "BOOT_IMAGE" || parameter.name == "initrd" ||
         parameter.name == "initrdmem" ||
         parameter.name == "kexec_jump_back_entry";
}

// A truth value as the kernel's kstrtobool() reads it; none if it is no such.
std::optional<bool> TruthOf(const Parameter& word) {
  if (!word.has_value || word.value.empty()) return std::nullopt;
  const char first = absl::ascii_tolower(word.value[0]);
  if (first == 'o' && word.value.size() > 1) {
    const char second = absl::ascii_tolower(word.value[1]);
    if (second == 'n') return true;
    if (second == 'f') return false;
    return std::nullopt;
  }
  if (first == 'y' || first == 't' || first == '1' || first == 'e') return true;
  if (first == 'n' || first == 'f' || first == '0' || first == 'd') {
    return false;
  }
  return std::nullopt;
}

bool ContainsWord(const std::vector<Parameter>& words, const Parameter& word) {
  return std::any_of(words.begin(), words.end(),
                     [&](const Parameter& w) { return w.word == word.word; });
}

std::vector<Parameter> Consoles(const std::vector<Parameter>& words) {
  std::vector<Parameter> consoles;
  for (const Parameter& word : words) {
    if (word.name == "console") consoles.push_back(word);
  }
  return consoles;
}

// Whether the consoles of `appended` are the last ones in `words` already, in
// that order: the last is the one that becomes /dev/console.
bool EndsWithConsoles(const std::vector<Parameter>& words,
                      const std::vector<Parameter>& appended) {
  const std::vector<Parameter> had = Consoles(words);
  const std::vector<Parameter> added = Consoles(appended);
  return had.size() >= added.size() &&
         std::equal(added.rbegin(), added.rend(), had.rbegin(),
                    [](const Parameter& a, const Parameter& b) {
                      return a.word == b.word;
                    });
}

// Adds the words of `appended` to `words`: first those that keep their place,
// unless they are there, then the others. The same call again with the result
// gives the same (after WithoutRepetitions).
void Append(const std::vector<Parameter>& appended,
            std::vector<Parameter>* words) {
  const bool has_consoles = EndsWithConsoles(*words, appended);
  for (const Parameter& word : appended) {
    if (!IsPositional(word)) continue;
    const bool there =
        word.name == "console" ? has_consoles : ContainsWord(*words, word);
    if (!there) words->push_back(word);
  }
  for (const Parameter& word : appended) {
    if (!IsPositional(word)) words->push_back(word);
  }
}

// Leaves, of words that are the same, the last.
std::vector<Parameter> WithoutRepetitions(const std::vector<Parameter>& words) {
  std::vector<Parameter> kept;
  for (auto word = words.begin(); word != words.end(); ++word) {
    const bool again = std::any_of(
        word + 1, words.end(),
        [&](const Parameter& later) { return later.word == word->word; });
    if (IsPositional(*word) || !again) kept.push_back(*word);
  }
  return kept;
}

std::vector<absl::string_view> MemoryWords(const std::vector<Parameter>& all) {
  std::vector<absl::string_view> words;
  for (const Parameter& parameter : all) {
    if (ShapesMemoryMap(parameter)) words.push_back(parameter.word);
  }
  return words;
}

absl::Status CheckLength(size_t bytes) {
  if (bytes <= kMaxCommandLineBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("command line of ", bytes, " characters; the kernel takes ",
                   kMaxCommandLineBytes));
}

// Words that no later boot has, so none that it could not be without.
absl::StatusOr<std::vector<Parameter>> SplitFirstBoot(absl::string_view words) {
  LU_ASSIGN_OR_RETURN(CommandLine split, SplitCommandLine(words));
  if (!split.init.empty()) {
    return absl::InvalidArgumentError("\"--\" among them");
  }
  for (const Parameter& word : split.kernel) {
    if (!IsPositional(word)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(word.word, " has to hold for every boot"));
  }
  return std::move(split.kernel);
}

}  // namespace

absl::StatusOr<CommandLine> SplitCommandLine(absl::string_view line) {
  line = absl::StripTrailingAsciiWhitespace(line);
  LU_RETURN_IF_ERROR(CheckLength(line.size()));
  CommandLine split;
  std::vector<Parameter>* half = &split.kernel;
  size_t position = 0;
  while (position < line.size()) {
    if (absl::ascii_isspace(line[position])) {
      ++position;
      continue;
    }
    const size_t begin = position;
    bool in_quotes = false;
    for (; position < line.size(); ++position) {
      const char c = line[position];
      if (absl::ascii_isspace(c) && !in_quotes) break;
      if (absl::ascii_iscntrl(c)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "control character in the command line at position ", position));
      }
      if (c == '"') in_quotes = !in_quotes;
    }
    if (in_quotes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a quote is not closed in the command line: ", line.substr(begin)));
    }
    const Parameter parameter =
        MakeParameter(line.substr(begin, position - begin));
    if (half == &split.kernel && parameter.name == "--" &&
        !parameter.has_value) {
      half = &split.init;
    } else {
      half->push_back(parameter);
    }
  }
  return split;
}

absl::StatusOr<CommandLine> OrdinaryWords(absl::string_view line) {
  LU_ASSIGN_OR_RETURN(CommandLine split, SplitCommandLine(line));
  const auto marker = std::find_if(
      split.kernel.begin(), split.kernel.end(),
      [](const Parameter& word) { return word.word == kFirstBootMarker; });
  split.kernel.erase(marker, split.kernel.end());
  return split;
}

absl::StatusOr<std::string> TargetCommandLine(absl::string_view running,
                                              absl::string_view append,
                                              absl::string_view first_boot) {
  const auto running_split = OrdinaryWords(running);
  LU_RETURN_IF_ERROR(
      Annotate(running_split.status(), "the running kernel's command line"));
  const auto append_split = SplitCommandLine(append);
  LU_RETURN_IF_ERROR(Annotate(append_split.status(), "what is to be appended"));
  const auto first_boot_split = SplitFirstBoot(first_boot);
  LU_RETURN_IF_ERROR(
      Annotate(first_boot_split.status(), "words for the first boot alone"));

  std::vector<Parameter> kernel;
  for (const Parameter& word : running_split->kernel) {
    if (!ConcernsOnlyThisBoot(word)) kernel.push_back(word);
  }
  Append(append_split->kernel, &kernel);
  std::vector<Parameter> init = running_split->init;
  for (const Parameter& word : append_split->init) {
    if (!ContainsWord(init, word)) init.push_back(word);
  }

  std::vector<absl::string_view> words;
  for (const Parameter& word : WithoutRepetitions(kernel)) {
    words.push_back(word.word);
  }
  if (!first_boot_split->empty()) words.push_back(kFirstBootMarker);
  for (const Parameter& word : *first_boot_split) words.push_back(word.word);
  if (!init.empty()) words.push_back("--");
  for (const Parameter& word : init) words.push_back(word.word);
  std::string line = absl::StrJoin(words, " ");
  LU_RETURN_IF_ERROR(Annotate(CheckLength(line.size()), "target kernel"));
  return line;
}

absl::Status CheckKeepsMemory(absl::string_view running,
                              absl::string_view target) {
  const auto running_split = SplitCommandLine(running);
  LU_RETURN_IF_ERROR(
      Annotate(running_split.status(), "the running kernel's command line"));
  const auto target_split = SplitCommandLine(target);
  LU_RETURN_IF_ERROR(
      Annotate(target_split.status(), "the target's command line"));

  const auto kept = MemoryWords(running_split->kernel);
  const auto found = MemoryWords(target_split->kernel);
  if (kept == found) return absl::OkStatus();

  const auto quoted = [](const std::vector<absl::string_view>& words) {
    return words.empty() ? std::string("nothing") : absl::StrJoin(words, " ");
  };
  std::string message = absl::StrCat(
      "the target's command line shapes memory in another way, and guest RAM "
      "would be lost: running kernel: ",
      quoted(kept), "; target: ", quoted(found));
  for (const Parameter& word : target_split->init) {
    if (ShapesMemoryMap(word)) {
      absl::StrAppend(&message, "; ", word.word,
                      " stands after \"--\", where the kernel does not read");
    }
  }
  return absl::FailedPreconditionError(message);
}

absl::Status CheckTakesOver(absl::string_view line, bool kho_default) {
  LU_ASSIGN_OR_RETURN(const CommandLine split, SplitCommandLine(line));
  bool kho = kho_default;
  bool live_update = false;
  for (const Parameter& word : split.kernel) {
    if (word.name == "kho") kho = TruthOf(word).value_or(kho);
    if (word.name == "liveupdate") {
      live_update = TruthOf(word).value_or(live_update);
    }
  }
  if (kho && live_update) return absl::OkStatus();
  std::string message = absl::StrCat(
      "a kernel with this command line takes no memory over: it has no ",
      kho           ? "liveupdate=on"
      : live_update ? "kho=on"
                    : "kho=on liveupdate=on");
  for (const Parameter& word : split.init) {
    if (word.name == "kho" || word.name == "liveupdate") {
      absl::StrAppend(&message, "; ", word.word,
                      " stands after \"--\", where the kernel does not read");
    }
  }
  return absl::FailedPreconditionError(message);
}

absl::StatusOr<std::vector<std::string>> CrashKernelWords(
    absl::string_view running, absl::string_view line) {
  LU_ASSIGN_OR_RETURN(const CommandLine now, SplitCommandLine(running));
  LU_ASSIGN_OR_RETURN(const CommandLine next, SplitCommandLine(line));
  std::vector<std::string> found;
  for (const Parameter& word : next.kernel) {
    const bool only_after_a_crash = word.name == "elfcorehdr" ||
                                    word.name == "reset_devices" ||
                                    word.name == "disable_cpu_apicid";
    const bool one_cpu = word.name == "nosmp" ||
                         ((word.name == "nr_cpus" || word.name == "maxcpus") &&
                          (word.value == "1" || word.value == "0"));
    if (only_after_a_crash || (one_cpu && !ContainsWord(now.kernel, word))) {
      found.emplace_back(word.word);
    }
  }
  return found;
}

}  // namespace live_update::loader
