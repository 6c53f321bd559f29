// The modules that are installed for a kernel, and those built into it.

#ifndef LOADER_MODULES_H_
#define LOADER_MODULES_H_

#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update::loader {

class ModuleSet {
 public:
  // Reads modules.dep and modules.builtin of /lib/modules/RELEASE. kNotFound:
  // there is no such folder; kInvalidArgument: malformed.
  static absl::StatusOr<ModuleSet> Read(const std::string& folder);

  // Makes one of the text of both files.
  static absl::StatusOr<ModuleSet> Parse(absl::string_view dep,
                                         absl::string_view builtin);

  // By the name that modprobe takes; '-' and '_' are the same.
  bool IsLoadable(absl::string_view name) const;
  bool IsBuiltIn(absl::string_view name) const;
  bool Has(absl::string_view name) const {
    return IsLoadable(name) || IsBuiltIn(name);
  }
  size_t loadable_count() const { return loadable_.size(); }

 private:
  std::set<std::string> loadable_;
  std::set<std::string> built_in_;
};

}  // namespace live_update::loader

#endif  // LOADER_MODULES_H_
