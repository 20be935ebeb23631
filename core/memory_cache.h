#pragma once

namespace tessera {

/// From here on CPU tensors come from an allocator that can keep the memory of freed ones, by size, for the next tensor
/// of that size, instead of returning it to malloc and the kernel. It does so while a KeptMemory exists, and asks for
/// huge pages then. What is kept is let go when an allocation fails. Call it before other threads make tensors; a
/// second call does nothing. For programs: a library leaves its host's allocator alone.
void install_memory_cache();

/// While one exists, freed memory is kept, at most 1 GiB; with the last one, all that is kept is let go. Sizes are
/// rounded up by an eighth at most meanwhile. For a stage that computes with the same sizes again and again. It does
/// nothing where the cache was not installed.
class KeptMemory {
 public:
  KeptMemory();
  ~KeptMemory();
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
};

/// Installs the cache and keeps freed memory, at most 4 GiB, for the rest of the process. Training the bundled model's
/// denoiser on clips, two cores: 23.3 clips/s, and 22.0 with malloc told to return nothing.
void keep_freed_memory();

}  // namespace tessera
