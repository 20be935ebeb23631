#include "metrics/torchscript_extractor.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <optional>

#include "core/device_settings.h"
#include "core/error.h"

namespace tessera {
namespace {

/// The telling line of what TorchScript throws: its messages hold the program's own stack trace.
std::string reason(const std::exception& error) {
  const auto* ours = dynamic_cast<const c10::Error*>(&error);
  std::string text = ours ? ours->what_without_backtrace() : error.what();
  const size_t last = text.rfind("Error: ");  // a failure inside the program ends with its own message
  if (last != std::string::npos && text.find("Traceback") != std::string::npos) text = text.substr(last + 7);
  text = text.substr(0, std::min(text.find('\n'), size_t{300}));
  return text;
}

}  // namespace

struct TorchScriptExtractor::Program {
  mutable torch::jit::Module module;
  torch::jit::Kwargs arguments;
};

TorchScriptExtractor::TorchScriptExtractor(const std::filesystem::path& path, const std::string& sha256,
                                           const std::string& standard_name, at::IntArrayRef example, at::Device device)
    : program_(std::make_unique<Program>()), path_(path), device_(device) {
  if (device.is_cuda()) require_exact_products();
  TORCH_CHECK(example.size() == 4 || example.size() == 5, "TorchScriptExtractor: want 4 or 5 sizes, got ", example);
  try {
    program_->module = torch::jit::load(path.string(), device);
    program_->module.eval();
  } catch (const std::exception& error) {
    throw Error(path.string() +
                ": want a TorchScript program (made by torch.jit.save), but it does not load: " + reason(error));
  }
  const auto forward = program_->module.find_method("forward");
  if (!forward) throw Error(path.string() + ": this TorchScript program has no forward to call");
  const auto& arguments = forward->function().getSchema().arguments();
  if (arguments.size() < 2) throw Error(path.string() + ": its forward takes no input");
  for (size_t i = 2; i < arguments.size(); ++i) {  // the first two are the program itself and the batch
    const std::string& name = arguments[i].name();
    if (name == "rescale" || name == "resize" || name == "return_features")
      program_->arguments[name] = true;
    else if (!arguments[i].default_value())
      throw Error(path.string() + ": its forward needs the argument \"" + name +
                  "\", and only rescale, resize and return_features are known");
  }
  const bool video = example.size() == 5;
  info_.name = standard_name.empty() ? "TorchScript program " + path.filename().string() : standard_name;
  info_.sha256 = sha256;
  info_.dtype = "float32";
  info_.side = video ? 0 : example[2];
  info_.is_standard = !standard_name.empty();
  info_.dims = run(at::zeros(example, at::TensorOptions().dtype(video ? at::kByte : at::kFloat))).size(1);
}

TorchScriptExtractor::~TorchScriptExtractor() = default;

at::Tensor TorchScriptExtractor::run(const at::Tensor& pixels) const {
  const at::NoGradGuard no_gradients;
  std::optional<c10::IValue> answer;
  try {
    answer = program_->module.get_method("forward")({pixels.to(device_)}, program_->arguments);
  } catch (const std::exception& error) {
    throw Error(c10::str(path_.string(), ": this TorchScript program fails on an input of ", pixels.scalar_type(), " ",
                         pixels.sizes(), ": ", reason(error)));
  }
  const auto refuse = [&](const std::string& found) {
    throw Error(c10::str(path_.string(), ": want features [", pixels.size(0), ", D] of floats from this TorchScript ",
                         "program for an input of ", pixels.sizes(), ", got ", found));
  };
  if (!answer->isTensor()) refuse("a " + answer->tagKind());
  const at::Tensor features = answer->toTensor();
  if (features.dim() != 2 || features.size(0) != pixels.size(0) || features.size(1) < 1 ||
      !features.is_floating_point())
    refuse(c10::str(features.scalar_type(), " ", features.sizes()));
  if (!features.isfinite().all().item<bool>()) refuse("NaN or infinite values");
  return features.to(at::kFloat);
}

Features TorchScriptExtractor::features(const at::Tensor& pixels) const {
  const at::Tensor pool = run(pixels);
  if (pool.size(1) != info_.dims) {
    throw Error(c10::str(path_.string(), ": this TorchScript program gave ", info_.dims, " features at first and ",
                         pool.size(1), " for an input of ", pixels.sizes()));
  }
  return {pool, {}};
}

}  // namespace tessera
