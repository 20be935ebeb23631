#pragma once

#include "checkpoints/family.h"

namespace tessera {

/// Text to video: Wan 2.1 and Wan-MHLA.
Family wan_family();

}  // namespace tessera
