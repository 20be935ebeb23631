#include "metrics/inception_extractor.h"

#include <cstdlib>

#include "core/device.h"
#include "core/error.h"
#include "core/sha256.h"
#include "weights/bind.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

constexpr const char* kPublishedHash = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";
constexpr const char* kNames[] = {"pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth",
                                  "fid_inception.safetensors"};

std::filesystem::path environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// $first, or $second/rest, or ~/.cache/rest.
std::filesystem::path cache_folder(const char* first, const std::string& rest) {
  if (!environment(first).empty()) return environment(first);
  const std::filesystem::path shared = environment("XDG_CACHE_HOME");
  return (shared.empty() ? environment("HOME") / ".cache" : shared) / rest;
}

[[noreturn]] void fail_absent() {
  std::string folders;
  for (const std::filesystem::path& folder : inception_folders())
    folders += (folders.empty() ? "" : " or ") + folder.string();
  throw Error(
      std::string("the FID Inception weights are not here: ") + kNames[0] +
      ", an asset of the release \"fid_weights\" of the GitHub project mseitzer/pytorch-fid (torch-fidelity's " +
      kNames[1] + " is the same file), 95,628,359 bytes, sha256 " + kPublishedHash + "; put it into " + folders +
      ", or name it with --weights");
}

TensorFile without_counters(const TensorFile& file) {
  std::map<std::string, at::Tensor> kept;
  for (const auto& [name, tensor] : file.tensors())
    if (!name.ends_with(".num_batches_tracked")) kept.emplace(name, tensor);
  return {std::move(kept), file.where()};
}

}  // namespace

std::vector<std::filesystem::path> inception_folders() {
  return {cache_folder("TESSERA_CACHE", "tessera") / "weights",
          cache_folder("TORCH_HOME", "torch") / "hub/checkpoints"};
}

InceptionFile find_inception_weights(const std::string& chosen) {
  InceptionFile found{chosen, "", false};
  std::error_code ignored;
  if (chosen.empty())
    for (const std::filesystem::path& folder : inception_folders())
      for (const char* name : kNames)
        if (found.path.empty() && std::filesystem::is_regular_file(folder / name, ignored)) found.path = folder / name;
  if (found.path.empty()) fail_absent();
  if (!std::filesystem::is_regular_file(found.path, ignored))
    throw Error("--weights: there is no file " + chosen + "; without --weights the cache is searched");
  Sha256 hash;
  hash.update_file(found.path);
  found.sha256 = hash.hex();
  found.published = found.sha256 == kPublishedHash;
  return found;
}

TensorFile read_inception_weights(const std::filesystem::path& path) {
  return is_torch_archive(path) ? read_torch_archive(path) : read_safetensors(path);
}

InceptionExtractor::InceptionExtractor(const TensorFile& weights, const std::string& sha256, const Protocol& protocol,
                                       int64_t dims, at::ScalarType dtype, at::Device device)
    : scale_(protocol.scale), shift_(protocol.shift), device_(device) {
  inception_graph().tap(dims);
  ParamList list;
  inception_.params(list);
  bind(list, without_counters(weights), at::kFloat, device);
  inception_.prepare(dtype);
  info_ = {"FID Inception v3 (2015-12-05)", sha256, dtype_name(dtype), dims, kInceptionSide, sha256 == kPublishedHash};
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
