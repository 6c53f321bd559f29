#include "host_update/ctl/completion.h"

#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace live_update::ctl {
namespace {

struct Word {
  std::string text;
  std::string help;
};

// What may follow one sub-command.
struct Place {
  std::string path;  // " completion bash": the commands before it. Empty: none.
  std::vector<Word> words;
};

struct Model {
  std::vector<Place> places;
  std::set<std::string> files;   // Options whose value is a file.
  std::set<std::string> values;  // Options with another value.
};

void AddOptions(const CLI::App& app, Model& model, Place& place) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const std::string word = "--" + name;
      place.words.push_back({word, option->get_description()});
      if (option->get_items_expected_max() == 0) continue;
      (option->get_type_name() == "FILE" ? model.files : model.values)
          .insert(word);
    }
  }
  for (const CLI::App* group : app.get_subcommands({})) {
    if (group->get_name().empty()) AddOptions(*group, model, place);
  }
}

// Global options are offered at each sub-command as well: they fall through.
void AddPlaces(const CLI::App& app, const std::string& path, Model& model,
               const std::vector<Word>& global) {
  Place place{path, {}};
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name().empty()) continue;
    place.words.push_back({command->get_name(), command->get_description()});
  }
  AddOptions(app, model, place);
  const std::vector<Word> inherited = path.empty() ? place.words : global;
  if (!path.empty()) {
    std::set<std::string> own;
    for (const Word& word : place.words) own.insert(word.text);
    for (const Word& word : global) {
      if (word.text[0] == '-' && own.insert(word.text).second) {
        place.words.push_back(word);
      }
    }
  }
  model.places.push_back(place);
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name().empty()) continue;
    AddPlaces(*command, absl::StrCat(path, " ", command->get_name()), model,
              inherited);
  }
}

Model ModelOf(const CLI::App& app) {
  Model model;
  AddPlaces(app, "", model, {});
  return model;
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// A pattern of `case`.
std::string AnyOf(const std::set<std::string>& words) {
  return absl::StrJoin(words, "|", [](std::string* out, const std::string& w) {
    absl::StrAppend(out, Quoted(w));
  });
}

std::string Paths(const Model& model) {
  std::set<std::string> paths;
  for (const Place& place : model.places) {
    if (!place.path.empty()) paths.insert(place.path);
  }
  return AnyOf(paths);
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  const Model model = ModelOf(app);
  std::string script = absl::StrCat(
      "# bash completion of hostupdatectl.\n"
      "_hostupdatectl() {\n"
      "    local i verb='' choices=''\n"
      "    COMPREPLY=()\n"
      "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "        case \"$verb ${COMP_WORDS[i]}\" in\n"
      "            ",
      Paths(model),
      ") verb+=\" ${COMP_WORDS[i]}\" ;;\n"
      "        esac\n"
      "    done\n"
      "    case \"${COMP_WORDS[COMP_CWORD-1]}\" in\n"
      "        ",
      AnyOf(model.files),
      ")\n"
      "            compopt -o filenames 2>/dev/null\n"
      "            mapfile -t COMPREPLY < <(compgen -f -- "
      "\"${COMP_WORDS[COMP_CWORD]}\")\n"
      "            return ;;\n"
      "        ",
      AnyOf(model.values),
      ") return ;;\n"
      "    esac\n"
      "    case \"$verb\" in\n");
  for (const Place& place : model.places) {
    const std::string words = absl::StrJoin(
        place.words, " ",
        [](std::string* out, const Word& w) { absl::StrAppend(out, w.text); });
    absl::StrAppend(&script, "        ", Quoted(place.path),
                    ") choices=", Quoted(words), " ;;\n");
  }
  absl::StrAppend(&script,
                  "    esac\n"
                  "    mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- "
                  "\"${COMP_WORDS[COMP_CWORD]}\")\n"
                  "}\n"
                  "complete -F _hostupdatectl hostupdatectl\n");
  return script;
}

std::string ZshCompletion(const CLI::App& app) {
  const Model model = ModelOf(app);
  std::string script = absl::StrCat(
      "#compdef hostupdatectl\n"
      "_hostupdatectl() {\n"
      "    local word verb=\n"
      "    local -a choices\n"
      "    for word in \"${(@)words[2,CURRENT-1]}\"; do\n"
      "        case \"$verb $word\" in\n"
      "            ",
      Paths(model),
      ") verb+=\" $word\" ;;\n"
      "        esac\n"
      "    done\n"
      "    case \"${words[CURRENT-1]}\" in\n"
      "        ",
      AnyOf(model.files), ") _files; return ;;\n        ", AnyOf(model.values),
      ") return ;;\n"
      "    esac\n"
      "    case \"$verb\" in\n");
  for (const Place& place : model.places) {
    absl::StrAppend(&script, "        ", Quoted(place.path), ") choices=(\n");
    for (const Word& word : place.words) {
      absl::StrAppend(&script, "            ",
                      Quoted(absl::StrCat(word.text, ":", word.help)), "\n");
    }
    absl::StrAppend(&script, "        ) ;;\n");
  }
  absl::StrAppend(&script,
                  "    esac\n"
                  "    _describe 'hostupdatectl' choices\n"
                  "}\n"
                  "if [ \"$funcstack[1]\" = _hostupdatectl ]; then\n"
                  "    _hostupdatectl\n"
                  "else\n"
                  "    compdef _hostupdatectl hostupdatectl\n"
                  "fi\n");
  return script;
}

}  // namespace live_update::ctl
