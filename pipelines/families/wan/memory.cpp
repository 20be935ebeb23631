#include "pipelines/families/wan/memory.h"

#include <algorithm>

#include "core/device_settings.h"
#include "pipelines/families/wan/sampling.h"

namespace tessera {
namespace {

constexpr int64_t kFloatBytes = 4;

int64_t bytes_of(const ParamList& params, int64_t element) {
  int64_t bytes = 0;
  for (const Param& param : params)
    bytes += c10::multiply_integers(param.shape) * (param.keep_float ? kFloatBytes : element);
  return bytes;
}

/// The bytes of a number of a part, as load_part will have it.
int64_t element_of(const ParamList& params, const Component& component, const std::string& dtype, at::Device device) {
  const at::ScalarType stored = most_common_dtype(read_component(component));
  return static_cast<int64_t>(c10::elementSize(choose_precision(dtype, device, stored, params.count()).dtype));
}

template <class Part>
PartBytes weights_of(Part part, const Component& component, const std::string& dtype, at::Device device,
                     int64_t& element) {
  ParamList params;
  part.params(params);
  element = element_of(params, component, dtype, device);
  PartBytes bytes{.weights = bytes_of(params, element)};
  bytes.outside_layers = bytes.weights;
  if constexpr (LayeredPart<Part>) {
    for (const ParamList& layer : part.layers()) {
      const int64_t size = bytes_of(layer, element);
      bytes.largest_layer = std::max(bytes.largest_layer, size);
      bytes.outside_layers -= size;
    }
  }
  return bytes;
}

}  // namespace

int64_t denoiser_activations(const WanTransformerConfig& config, int64_t rows, int64_t tokens, int64_t element) {
  const int64_t width = config.channels();
  const int64_t widest = std::max(6 * width * kFloatBytes, 2 * config.ffn_dim * element);
  return rows * tokens * (4 * width * element + widest);
}

int64_t text_activations(const Umt5Config& config, int64_t tokens, int64_t element) {
  const int64_t scores = config.num_heads * tokens * tokens * kFloatBytes, hidden = tokens * config.d_ff * element;
  return 3 * std::max(scores, hidden);
}

ModelBytes model_bytes(const WanModel& model, const Job& job, const std::string& dtype, at::Device device) {
  const auto part = [&](const char* name) -> const Component& { return model.folder.component(name); };
  ModelBytes bytes;
  int64_t element = 0;
  const std::string text_dtype = text_encoder_dtype(dtype, has_fast_bfloat16(device));
  bytes.text_encoder = weights_of(Umt5Encoder(model.text_encoder), part("text_encoder"), text_dtype, device, element);
  bytes.text_encoder.activations = text_activations(model.text_encoder, *job.max_sequence_length, element);

  bytes.transformer = weights_of(WanTransformer(model.transformer), part("transformer"), dtype, device, element);
  const std::vector<int64_t> shape = latent_shape(job, model);  // [1, z, t, h, w]
  int64_t tokens = 1;
  for (size_t axis = 0; axis < 3; ++axis) tokens *= shape[axis + 2] / model.transformer.patch_size[axis];
  const int64_t rows = guidance_of(job, model).guides() ? 2 : 1;
  bytes.transformer.activations = denoiser_activations(model.transformer, rows, tokens, element);

  bytes.autoencoder = weights_of(WanVae(model.vae), part("vae"), autoencoder_dtype(dtype, device), device, element);
  const int64_t tile = job.vae_tile.value_or(0);
  const auto side = [&](int64_t pixels) { return tile > 0 ? std::min(tile, pixels) : pixels; };
  bytes.autoencoder.activations =
      whole_decode_bytes(model.vae, *job.frames, side(*job.height), side(*job.width)) / kFloatBytes * element;
  return bytes;
}

}  // namespace tessera
