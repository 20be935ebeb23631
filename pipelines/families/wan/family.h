#pragma once

#include "checkpoints/family.h"

namespace tessera {

/// Text and images to video: Wan 2.1, Wan 2.2 and Wan-MHLA.
Family wan_family();

}  // namespace tessera
