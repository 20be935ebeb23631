#pragma once

namespace tessera {

/// From here on the memory of freed CPU tensors is kept, by size, and given to the next tensor of that size, instead of
/// going back to malloc and the kernel: page faults and malloc's search cost a fifth of a training step. At most 4 GiB
/// are kept, and what is kept is let go when an allocation fails. Sizes are rounded up by an eighth at most. Call it
/// before other threads make tensors; a second call does nothing.
void keep_freed_memory();

}  // namespace tessera
