#pragma once

#include <memory>
#include <set>
#include <string>

#include "core/device.h"
#include "core/device_settings.h"
#include "core/params.h"
#include "models/layer_stream.h"
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

/// Throws Error when weights are to be streamed from their file to a device that is not the CPU.
void require_streamable(bool stream, at::Device device);

/// Throws Error when weights are to be streamed and quantized at once.
void require_one_of(bool stream, bool int8);

/// Whether a network says what its layers are, so that a GPU need not hold all of them.
template <class Part>
concept LayeredPart = requires(Part& part) {
  part.layers();
};

/// Puts one parameter, which may be packed, on a GPU.
void move_to_gpu(const Param& param, at::ScalarType dtype, at::Device device);

/// Moves the weights of a network from the CPU to a GPU, those of its layers to pinned memory (models/layer_stream.h).
template <LayeredPart Part>
void stream_to_gpu(Part& part, const ParamList& params, at::ScalarType dtype, at::Device device) {
  std::vector<ParamList> layers = part.layers();
  std::set<const at::Tensor*> inside;
  for (const ParamList& layer : layers)
    for (const Param& param : layer) inside.insert(param.slot);
  for (const Param& param : params)
    if (!inside.count(param.slot)) move_to_gpu(param, dtype, device);
  part.stream_from(std::make_unique<LayerStream>(std::move(layers), dtype, device));
}

/// A network with the weights of `file` (under canonical names), computing in `dtype` (see choose_precision). With
/// `stream` its matrices are read from the file for each use (see streamed) on the CPU; on a GPU its layers come from
/// pinned memory one by one, for networks that have some.
template <class Part, class Config>
Loaded<Part> load_part(const TensorFile& file, const Config& config, const std::string& dtype, at::Device device,
                       bool stream = false) {
  Loaded<Part> loaded{Part(config), at::kFloat};
  ParamList params;
  loaded.part.params(params);
  const Precision precision = choose_precision(dtype, device, most_common_dtype(file), params.count());
  loaded.dtype = precision.dtype;
  if (device.is_cuda()) note_network_dtype(loaded.dtype);
  require_one_of(stream, precision.int8);
  if constexpr (LayeredPart<Part>) {
    if (stream && device.is_cuda()) {
      bind(params, file, loaded.dtype, at::kCPU);
      stream_to_gpu(loaded.part, params, loaded.dtype, device);
      return loaded;
    }
  }
  require_streamable(stream, device);
  bind(params, stream ? streamed(params, file) : file, loaded.dtype, device, /*check_finite=*/true, precision.int8);
  return loaded;
}

/// Puts the matrices of a network on the CPU that is used again and again into the order that multiplies fastest on
/// this machine (kernels/library_linear.h), where it has such an order and they take at most a quarter of its memory:
/// they are copies then, and the file's pages are let go. Adapters and inference know them; training does not.
void arrange_weights(const ParamList& params);

/// load_part for a denoiser, whose matrices are arranged unless they are streamed.
template <class Part, class Config>
Loaded<Part> load_denoiser(const TensorFile& file, const Config& config, const std::string& dtype, at::Device device,
                           bool stream) {
  Loaded<Part> loaded = load_part<Part>(file, config, dtype, device, stream);
  if (device.is_cpu() && !stream) {
    ParamList params;
    loaded.part.params(params);
    arrange_weights(params);
  }
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
