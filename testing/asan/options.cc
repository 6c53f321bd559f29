// For programs that systemd confines: to look for leaks is to be a debugger,
// which hostupdated.service may not be. Reports go to the journal.

extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
