#include "host_update/cli/override_option.h"

#include "host_update/preflight.h"

namespace live_update {

void AddOverrideOption(CLI::App& command, std::vector<std::string>& codes) {
  command
      .add_option("--override", codes,
                  "Go on in spite of errors with this code; may be given more "
                  "than once, for codes with which no VM is lost for certain")
      ->check([](const std::string& code) {
        return std::string(CheckOverride(code).message());
      })
      ->allow_extra_args(false)
      ->type_name("CODE");
}

void AddWayOption(CLI::App& command, WayByVm& ways) {
  command
      .add_option_function<std::vector<std::string>>(
          "--way",
          [&ways](const std::vector<std::string>& all) {
            for (const std::string& words : all) {
              const absl::Status added = AddWay(words, ways);
              if (!added.ok()) {
                throw CLI::ValidationError("--way",
                                           std::string(added.message()));
              }
            }
          },
          "How to carry one VM: in-place, copy, managedsave, shutdown or "
          "refuse; may be given more than once, and goes before the VM's "
          "metadata and the policy file")
      ->allow_extra_args(false)
      ->type_name("VM=WAY");
}

}  // namespace live_update
