#include "core/version.h"

namespace tessera {

std::string program_version() {
  return TESSERA_VERSION;
}

}  // namespace tessera
