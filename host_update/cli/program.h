// The program: command line in, exit status out.

#ifndef HOST_UPDATE_CLI_PROGRAM_H_
#define HOST_UPDATE_CLI_PROGRAM_H_

#include <functional>

#include "host_update/dependencies.h"

namespace live_update {

// `adjust` may put something in front of the real dependencies before they are
// used: where tests inject faults.
int RunProgram(int argc, char** argv,
               const std::function<void(Dependencies&)>& adjust = {});

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_PROGRAM_H_
