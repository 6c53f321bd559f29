// --override and --way, as host-update and hostupdatectl have them.

#ifndef HOST_UPDATE_CLI_OVERRIDE_OPTION_H_
#define HOST_UPDATE_CLI_OVERRIDE_OPTION_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "host_update/policy.h"

namespace live_update {

// Takes --way VM=WAY into `ways`, the same.
void AddWayOption(CLI::App& command, WayByVm& ways);

// Takes codes that CheckOverride accepts into `codes`, which must outlive
// `command`'s parsing.
void AddOverrideOption(CLI::App& command, std::vector<std::string>& codes);

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_OVERRIDE_OPTION_H_
