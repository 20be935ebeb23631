#pragma once

#include "checkpoints/family.h"

namespace tessera {

/// The one table of model families. To add one: a row here, its networks in models/, its layouts in checkpoints/ and
/// its renderer beside this file.
Families families();

}  // namespace tessera
