#include "metrics/inception_extractor.h"

#include "core/device_settings.h"
#include "core/dtype.h"
#include "core/error.h"
#include "weights/bind.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

constexpr const char* kPublishedHash = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";
PublishedWeights inception_weights() {
  return {"the FID Inception network",
          {"pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth",
           "fid_inception.safetensors"},
          "an asset of the release \"fid_weights\" of the GitHub project mseitzer/pytorch-fid, 95,628,359 bytes; "
          "torch-fidelity's is the same under the second name",
          kPublishedHash,
          "--weights FILE"};
}

TensorFile without_counters(const TensorFile& file) {
  std::map<std::string, at::Tensor> kept;
  for (const auto& [name, tensor] : file.tensors())
    if (!name.ends_with(".num_batches_tracked")) kept.emplace(name, tensor);
  return {std::move(kept), file.where()};
}

}  // namespace

FoundWeights find_inception_weights(const std::string& chosen) {
  return find_weights(inception_weights(), chosen);
}

TensorFile read_inception_weights(const std::filesystem::path& path) {
  return is_torch_archive(path) ? read_torch_archive(path) : read_safetensors(path);
}

InceptionExtractor::InceptionExtractor(const TensorFile& weights, const std::string& sha256, const Protocol& protocol,
                                       int64_t dims, at::ScalarType dtype, at::Device device)
    : scale_(protocol.scale), shift_(protocol.shift), device_(device) {
  if (device.is_cuda()) require_exact_products();
  inception_graph().tap(dims);
  ParamList list;
  inception_.params(list);
  bind(list, without_counters(weights), at::kFloat, device);
  inception_.prepare(dtype);
  info_ = {"FID Inception v3 (2015-12-05)", sha256, long_dtype_name(dtype), dims, kInceptionSide,
           sha256 == kPublishedHash};
}

Features InceptionExtractor::features(const at::Tensor& pixels) const {
  Features out;
  out.pool = inception_.features(pixels.to(device_), scale_, shift_, info_.dims).to(at::kCPU);
  if (!out.pool.isfinite().all().item<bool>())
    throw Error("the Inception network gave NaN or infinite features; are its weights damaged? Try --dtype fp32",
                ExitCode::kFailed);
  if (info_.dims == 2048) out.logits = inception_.logits(out.pool.to(device_)).to(at::kCPU);
  return out;
}

}  // namespace tessera
