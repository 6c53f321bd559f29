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

}  // namespace live_update
