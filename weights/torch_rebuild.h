#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "weights/archive_value.h"

namespace tessera {

/// The dtype with that name in PyTorch: "float32" or "float" of torch.float32, "FloatStorage" of torch.FloatStorage;
/// empty for other names.
std::optional<at::ScalarType> torch_dtype(const std::string& name);

/// A tensor of the storage as torch._utils._rebuild_tensor makes it; sizes and strides in elements. Throws Error naming
/// `where` and the storage when the view reaches beyond it or has implausibly many elements.
at::Tensor storage_view(const ArchiveValue::Storage& storage, at::ScalarType dtype, int64_t offset,
                        const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                        const std::string& where);

/// The allow-list: the result of calling `name` with `arguments`, for functions that build tensors and containers
/// (torch._utils._rebuild_tensor_v2, collections.OrderedDict, torch.Size, numpy arrays and scalars, ...); nullopt for
/// every other name. Throws Error naming `where` for wrong arguments.
std::optional<ArchiveValue> rebuild(const std::string& name, const std::vector<ArchiveValue>& arguments,
                                    const std::string& where);

/// Fills a numpy array from its pickled state, as a tensor; false for other objects and states. Arrays of strings,
/// objects or big-endian numbers stay objects.
bool rebuild_numpy(ArchiveValue::Object& object, const std::vector<ArchiveValue>& state);

}  // namespace tessera
