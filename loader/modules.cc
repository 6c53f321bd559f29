#include "loader/modules.h"

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace live_update::loader {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;
constexpr size_t kMaxModules = 65536;

// "kernel/arch/x86/kvm/kvm-amd.ko.xz" -> "kvm_amd"; "" if it is no module.
std::string NameOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash != absl::string_view::npos) path.remove_prefix(slash + 1);
  const size_t end = path.find(".ko");
  if (end == absl::string_view::npos) return "";
  return absl::StrReplaceAll(path.substr(0, end), {{"-", "_"}});
}

// The module that each line starts with: "path.ko: path.ko path.ko".
absl::StatusOr<std::set<std::string>> NamesIn(absl::string_view text) {
  std::set<std::string> names;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty()) continue;
    const std::string name = NameOf(line.substr(0, line.find(':')));
    if (name.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("not a line about a module: ", line.substr(0, 80)));
    }
    if (names.size() == kMaxModules) {
      return absl::InvalidArgumentError("too many modules");
    }
    names.insert(name);
  }
  return names;
}

}  // namespace

absl::StatusOr<ModuleSet> ModuleSet::Parse(absl::string_view dep,
                                           absl::string_view builtin) {
  ModuleSet set;
  LU_ASSIGN_OR_RETURN(set.loadable_, NamesIn(dep));
  LU_ASSIGN_OR_RETURN(set.built_in_, NamesIn(builtin));
  return set;
}

absl::StatusOr<ModuleSet> ModuleSet::Read(const std::string& folder) {
  LU_ASSIGN_OR_RETURN(const std::string dep,
                      ReadFile(folder + "/modules.dep", kMaxFileBytes));
  LU_ASSIGN_OR_RETURN(const std::string builtin,
                      ReadFile(folder + "/modules.builtin", kMaxFileBytes));
  absl::StatusOr<ModuleSet> set = Parse(dep, builtin);
  if (!set.ok()) return Annotate(set.status(), folder);
  return set;
}

bool ModuleSet::IsLoadable(absl::string_view name) const {
  return loadable_.count(absl::StrReplaceAll(name, {{"-", "_"}})) != 0;
}

bool ModuleSet::IsBuiltIn(absl::string_view name) const {
  return built_in_.count(absl::StrReplaceAll(name, {{"-", "_"}})) != 0;
}

}  // namespace live_update::loader
