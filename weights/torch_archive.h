#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "weights/archive_value.h"
#include "weights/safetensors.h"

namespace tessera {

/// True when the file begins like one of torch.save (or any zip archive), or its name ends in .pt, .pth, .bin or
/// .ckpt; false for a file that cannot be read.
bool is_torch_archive(const std::filesystem::path& path);

/// What a file of torch.save holds.
struct TorchArchive {
  ArchiveValue root;
  std::string where;                 ///< the file as the user named it, for messages
  std::vector<std::string> skipped;  ///< classes of Python objects that were not created, sorted, each once
};

/// Reads a file written by torch.save (.pt, .pth, .bin): the zip format of PyTorch 1.6 and later, or the older one.
/// Its pickle is interpreted by an allow-list that builds tensors and plain containers and never calls anything;
/// objects of other classes become ArchiveValue::Object, listed in `skipped`. Tensors of a zip archive are views into
/// the copy-on-write mapping (see FileMap) with the dtype, strides and shared storages they were saved with; those of
/// the older format, and unaligned ones, are copies. All are on the CPU.
/// Throws Error naming the file and the problem: truncated, damaged, compressed, overlapping, out-of-range or
/// big-endian data, cyclic or too deeply nested values, a function with side effects such as os.system (by name), or
/// another kind of file (saying how to save it again).
TorchArchive load_torch_archive(const std::filesystem::path& path);

/// The dict of tensors under `key`, e.g. "ema"; "" is the root itself. Entries that are None are skipped. Throws
/// Error naming the file when there is no such dict (listing what there is), or when an entry is not a tensor.
TensorFile tensors_of(const TorchArchive& archive, const std::string& key = "");

/// load_torch_archive and tensors_of under the first of `keys` that is a dict in the root; the root itself when none
/// is.
TensorFile read_torch_archive(const std::filesystem::path& path,
                              const std::vector<std::string>& keys = {"ema", "state_dict", "model"});

}  // namespace tessera
