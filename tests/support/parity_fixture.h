// Fixtures without GoogleTest, for bench/gpu too.
#pragma once

#include <ATen/ATen.h>

#include <cstdlib>
#include <filesystem>

#include "core/json_config.h"
#include "weights/bind.h"
#include "weights/safetensors.h"

namespace tessera::test {

/// The folder of parity fixtures: TESSERA_FIXTURES, or the copies in tests/data/fixtures.
inline std::filesystem::path fixture_folder() {
  const char* chosen = std::getenv("TESSERA_FIXTURES");
  return chosen && *chosen ? chosen : TESSERA_DEFAULT_FIXTURES;
}

/// One parity fixture: config.json and io.safetensors, and weights.safetensors where it has one.
struct Fixture {
  explicit Fixture(const std::string& name)
      : folder(fixture_folder() / name),
        config(read_json_object(folder / "config.json")),
        io(read_safetensors(folder / "io.safetensors")) {}

  const at::Tensor& operator[](const std::string& name) const { return io.at(name); }
  /// Whether the reference recorded a tensor: some runs have no use for it.
  bool has(const std::string& name) const { return io.find(name) != nullptr; }
  TensorFile weights() const { return read_safetensors(folder / "weights.safetensors"); }

  std::filesystem::path folder;
  nlohmann::json config;
  TensorFile io;
};

/// The tensors of a file whose names begin with `prefix`, by what follows it.
inline TensorFile part_of(const TensorFile& file, const std::string& prefix) {
  std::map<std::string, at::Tensor> part;
  for (const auto& [name, tensor] : file.tensors())
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  return {std::move(part), file.where()};
}

/// Fills a model, or a part of one, from a file that holds its weights and no others.
template <class Model>
void load(Model& model, const TensorFile& tensors, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU) {
  ParamList params;
  model.params(params, "");
  bind(params, tensors, dtype, device);
}

/// The model of a config with the weights of a file.
template <class Model, class Config>
Model bound(const Config& config, const TensorFile& tensors) {
  Model model(config);
  load(model, tensors);
  return model;
}

/// max|a - b| / max|b|, the measure of every tolerance in the fixtures' README.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).abs().max() / wide.abs().max().clamp_min(1e-30)).item<double>();
}

}  // namespace tessera::test
