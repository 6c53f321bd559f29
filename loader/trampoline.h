// The few instructions between the old kernel and the new one.

#ifndef LOADER_TRAMPOLINE_H_
#define LOADER_TRAMPOLINE_H_

#include <cstdint>
#include <string>

namespace live_update::loader {

// A page that, entered by kexec at its start, enters the kernel at `entry` with
// `boot_params` in %rsi, both physical addresses.
std::string MakeTrampoline(uint64_t boot_params, uint64_t entry);

}  // namespace live_update::loader

#endif  // LOADER_TRAMPOLINE_H_
