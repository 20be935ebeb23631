#include "pipelines/latents.h"

#include <ATen/CPUGeneratorImpl.h>

#include <filesystem>

#include "core/error.h"
#include "core/text.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

std::string names_in(const TensorFile& file) {
  return file.tensors().empty() ? "no tensor" : joined(file.names());
}

at::Tensor pick(const TensorFile& file, const std::string& name) {
  if (!name.empty()) return file.at(name);
  if (file.tensors().size() == 1) return file.tensors().begin()->second;
  if (const at::Tensor* latents = file.find("latents")) return *latents;
  throw Error("--latents: " + file.where() + " holds " + names_in(file) + "; say which: --latents " + file.where() +
              ":NAME");
}

}  // namespace

at::Tensor read_latents(const std::string& argument, int64_t channels, int64_t axes) {
  std::string path = argument, name;
  const size_t colon = argument.rfind(':');
  if (colon != std::string::npos && !std::filesystem::exists(argument)) {
    path = argument.substr(0, colon);
    name = argument.substr(colon + 1);
  }
  const TensorFile file = read_safetensors(path);
  at::Tensor latents = pick(file, name);
  if (latents.dim() == axes - 1) latents = latents.unsqueeze(0);
  if (latents.dim() != axes || latents.size(1) != channels || latents.numel() == 0 || !latents.is_floating_point())
    throw Error(c10::str("--latents ", argument, ": want floating-point numbers [N, ", channels,
                         axes == 5 ? ", frames" : "", ", height, width], got ", c10::toString(latents.scalar_type()),
                         " ", latents.sizes()));
  if (!latents.isfinite().all().item<bool>()) throw Error("--latents " + argument + ": holds NaN or infinity");
  return latents.to(at::kFloat);
}

std::function<at::Tensor(at::IntArrayRef)> noise_source(uint64_t seed) {
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return
      [generator](at::IntArrayRef shape) { return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat)); };
}

}  // namespace tessera
