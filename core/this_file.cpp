#include "core/this_file.h"

#include <dlfcn.h>
#include <link.h>

namespace tessera {

std::filesystem::path this_file() {
  Dl_info ignored = {};
  link_map* map = nullptr;
  const bool known = dladdr1(reinterpret_cast<const void*>(&this_file), &ignored, reinterpret_cast<void**>(&map),
                             RTLD_DL_LINKMAP) != 0;
  // The program itself has no name there.
  return std::filesystem::canonical(known && map && *map->l_name ? map->l_name : "/proc/self/exe");
}

}  // namespace tessera
