// Completion scripts, made from the command line's own model.

#ifndef HOST_UPDATE_CTL_COMPLETION_H_
#define HOST_UPDATE_CTL_COMPLETION_H_

#include <string>

#include "CLI/CLI.hpp"

namespace live_update::ctl {

// Scripts to source. They offer `app`'s sub-commands and options, files where
// an option's type name is "FILE", and nothing where another value is due.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace live_update::ctl

#endif  // HOST_UPDATE_CTL_COMPLETION_H_
