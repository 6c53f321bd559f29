#include "loader/trampoline.h"

#include <cstddef>
#include <cstring>

#include "loader/boot_params.h"

// trampoline.S
extern "C" const char loader_trampoline_begin[];
extern "C" const char loader_trampoline_end[];

namespace live_update::loader {

std::string MakeTrampoline(uint64_t boot_params, uint64_t entry) {
  std::string page(loader_trampoline_begin, loader_trampoline_end);
  const uint64_t addresses[] = {boot_params, entry};
  page.replace(page.size() - sizeof(addresses), sizeof(addresses),
               reinterpret_cast<const char*>(addresses), sizeof(addresses));
  page.resize(kPageBytes);
  return page;
}

}  // namespace live_update::loader
