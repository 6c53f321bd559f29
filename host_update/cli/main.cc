#include "host_update/cli/program.h"

int main(int argc, char** argv) { return live_update::RunProgram(argc, argv); }
