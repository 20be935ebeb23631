#include "checkpoints/wan/tiny_decoder.h"

#include "core/error.h"
#include "core/size_limits.h"
#include "weights/bind.h"
#include "weights/foreign_file.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

const std::string kWanted = "want a tiny decoder of TAEHV, such as taew2_1.safetensors for Wan 2.1";

/// The rows (axis 0) or columns (1) of a convolution's weight.
int64_t size_of(const TensorFile& file, const std::string& name, int64_t axis) {
  const at::Tensor* weight = file.find(name);
  if (!weight) throw Error(file.where() + ": has no tensor " + name + "; " + kWanted);
  if (weight->dim() != 4 || weight->size(axis) < 1 || weight->size(axis) > limits::kChannels)
    throw Error(c10::str(file.where(), ": ", name, " is ", weight->sizes(), ", which is no convolution; ", kWanted));
  return weight->size(axis);
}

TinyDecoderConfig config_of(const TensorFile& file) {
  if (file.find("decoder.0.weight"))
    throw Error(file.where() + ": TAEHV's \"super\" form is not supported; use the file without _super in its name");
  TinyDecoderConfig config;
  config.z_dim = size_of(file, "decoder.1.weight", 1);
  config.widths = {size_of(file, "decoder.1.weight", 0), size_of(file, "decoder.8.weight", 0),
                   size_of(file, "decoder.14.weight", 0), size_of(file, "decoder.20.weight", 0)};
  const char* growing[] = {"decoder.7.conv.weight", "decoder.13.conv.weight", "decoder.19.conv.weight"};
  for (size_t i = 0; i < config.frames_per_latent.size(); ++i)
    config.frames_per_latent[i] = std::max<int64_t>(1, size_of(file, growing[i], 0) / config.widths[i]);
  const int64_t outputs = size_of(file, "decoder.22.weight", 0);
  while (3 * config.patch_size * config.patch_size < outputs) ++config.patch_size;
  return config;
}

}  // namespace

TinyDecoder load_tiny_decoder(const std::filesystem::path& path, int64_t z_dim, at::Device device) {
  refuse_foreign(path, "a tiny decoder");
  const TensorFile whole = read_tensors(path);
  std::map<std::string, at::Tensor> tensors = whole.tensors();
  std::erase_if(tensors, [](const auto& entry) { return entry.first.starts_with("encoder."); });
  const TensorFile file(std::move(tensors), whole.where());
  const TinyDecoderConfig config = config_of(file);
  if (config.z_dim != z_dim)
    throw Error(file.where() + ": decodes latents of " + std::to_string(config.z_dim) +
                " channels, this model's have " + std::to_string(z_dim) +
                (z_dim == 16 ? ": use taew2_1.safetensors" : ""));
  TinyDecoder decoder(config);
  ParamList params;
  decoder.params(params);
  bind(params, file, at::kFloat, device);
  return decoder;
}

}  // namespace tessera
