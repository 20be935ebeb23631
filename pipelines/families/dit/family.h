#pragma once

#include "checkpoints/family.h"

namespace tessera {

/// Class to image: DiT and DiT-MHLA.
Family dit_family();

}  // namespace tessera
