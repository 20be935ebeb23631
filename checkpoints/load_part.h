#pragma once

#include <set>
#include <string>

#include "core/device.h"
#include "core/params.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {

/// A network with its weights, computing in `dtype`.
template <class Part>
struct Loaded {
  Part part;
  at::ScalarType dtype;
};

/// The tensors of a component under canonical names.
TensorFile read_component(const Component& part);

/// The dtype of most of the file's numbers; packed ones count as bfloat16.
at::ScalarType most_common_dtype(const TensorFile& file);

/// Throws Error when weights are to be streamed to a device that is not the CPU.
void require_streamable(bool stream, at::Device device);

/// Throws Error when weights are to be streamed and quantized at once.
void require_one_of(bool stream, bool int8);

/// A network with the weights of `file` (under canonical names), computing in `dtype` (see choose_precision). With
/// `stream` its matrices are read from the file for each use (see streamed), for which `device` must be the CPU.
template <class Part, class Config>
Loaded<Part> load_part(const TensorFile& file, const Config& config, const std::string& dtype, at::Device device,
                       bool stream = false) {
  Loaded<Part> loaded{Part(config), at::kFloat};
  ParamList params;
  loaded.part.params(params);
  const Precision precision = choose_precision(dtype, device, most_common_dtype(file), params.count());
  loaded.dtype = precision.dtype;
  require_streamable(stream, device);
  require_one_of(stream, precision.int8);
  bind(params, stream ? streamed(params, file) : file, loaded.dtype, device, /*check_finite=*/true, precision.int8);
  return loaded;
}

/// The names of the matrices that quantization is for: those of the blocks that may stay packed, and the token table.
std::set<std::string> matrices_of(const ParamList& params);

/// The same for a network of this config.
template <class Part, class Config>
std::set<std::string> matrices_of_part(const Config& config) {
  Part part(config);
  ParamList params;
  part.params(params);
  return matrices_of(params);
}

/// How much of a file is checked.
enum class WeightCheck {
  kHeaders,  ///< names, shapes and dtypes; and that a download has filled the file at all
  kNumbers   ///< every number too, which reads the whole file
};

/// Throws what bind would throw for these weights.
void check_tensors(const ParamList& params, const TensorFile& file, WeightCheck depth);

/// Throws what load_part would throw, without using memory.
template <class Part, class Config>
void check_part(const TensorFile& file, const Config& config, WeightCheck depth) {
  Part part(config);
  ParamList params;
  part.params(params);
  check_tensors(params, file, depth);
}

}  // namespace tessera
