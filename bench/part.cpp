// One network with the weights of a model folder, run on request: what bench/peers times as "tessera".
// Usage: bench_part PART MODEL INPUTS.safetensors DTYPE THREADS
// Serves "run" and "save FILE", see bench/serve.h. Loading is not timed.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <functional>
#include <map>
#include <memory>

#include "bench/serve.h"
#include "checkpoints/dit/model.h"
#include "checkpoints/wan/model.h"
#include "core/error.h"
#include "core/memory_cache.h"
#include "pipelines/families/wan/network.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

using Run = std::function<at::Tensor()>;

/// What a part is made from.
struct Request {
  std::string model;
  TensorFile inputs;
  std::string dtype;

  /// An input in the dtype that the network computes in.
  at::Tensor input(const std::string& name, at::ScalarType wanted) const { return inputs.at(name).to(wanted); }
};

template <class Part>
std::shared_ptr<const Loaded<Part>> shared(Loaded<Part> loaded) {
  return std::make_shared<const Loaded<Part>>(std::move(loaded));
}

/// As the sampler calls it, one step after the other. inputs: latents [1, 16, t, h, w], timesteps [1], context
/// [1, L, 4096].
Run wan_transformer(const Request& request) {
  const auto loaded = shared(load_transformer(open_wan_model(request.model), request.dtype, at::kCPU));
  const WanNetwork::Experts expert = [loaded](double) { return WanNetwork::Expert{WanExpert::kHighNoise, *loaded}; };
  const auto network = std::make_shared<WanNetwork>(expert, std::vector<ImageCondition>(1), nullptr, nullptr);
  const at::Tensor latents = request.input("latents", at::kFloat), context = request.input("context", loaded->dtype);
  const at::Tensor timesteps = request.input("timesteps", at::kFloat);
  const std::vector<TaskRows> rows{{.task = 0, .first = 0, .count = 1, .timestep = timesteps[0].item<double>()}};
  const auto kept = std::make_shared<KeptMemory>();
  return [=] {
    (void)kept;  // from step to step
    network->begin(rows);
    return (*network)(latents, timesteps, context);
  };
}

/// inputs: latents [1, 16, t, h, w].
Run wan_decode(const Request& request) {
  const auto vae = shared(load_vae(open_wan_model(request.model), request.dtype, at::kCPU));
  const at::Tensor latents = request.input("latents", vae->dtype);
  return [=] {
    std::vector<at::Tensor> frames;
    vae->part.decode_chunks(latents, [&](const at::Tensor& chunk) { frames.push_back(chunk); });
    return at::cat(frames, 2);
  };
}

/// inputs: frames [1, 3, T, H, W].
Run wan_encode(const Request& request) {
  const auto vae = shared(load_vae(open_wan_model(request.model), request.dtype, at::kCPU));
  const at::Tensor frames = request.input("frames", vae->dtype);
  return [=] { return vae->part.encode_chunks(frames).mean; };
}

/// inputs: ids [1, L] int64.
Run text_encoder(const Request& request) {
  const auto encoder = shared(load_text_encoder(open_wan_model(request.model), request.dtype, at::kCPU));
  const at::Tensor ids = request.inputs.at("ids");
  return [=] {
    const KeptMemory kept;
    return encoder->part.forward(ids, {});
  };
}

/// inputs: latents [B, 4, h, w], timesteps [B], classes [B] int64.
Run dit(const Request& request) {
  const auto network = shared(load_transformer(open_dit_model(request.model, {}), request.dtype, at::kCPU));
  const at::Tensor latents = request.input("latents", network->dtype);
  const at::Tensor timesteps = request.input("timesteps", at::kFloat), classes = request.inputs.at("classes");
  const auto kept = std::make_shared<KeptMemory>();
  return [=] {
    (void)kept;  // from step to step
    return network->part(latents, timesteps, classes);
  };
}

/// inputs: latents [1, 4, h, w].
Run kl_decode(const Request& request) {
  const auto vae = shared(load_vae(open_dit_model(request.model, {}), request.dtype, at::kCPU));
  const at::Tensor latents = request.input("latents", vae->dtype);
  return [=] { return vae->part.decode(latents); };
}

Run make_run(const std::string& part, const Request& request) {
  static const std::map<std::string, Run (*)(const Request&)> parts = {{"wan-transformer", wan_transformer},
                                                                       {"wan-decode", wan_decode},
                                                                       {"wan-encode", wan_encode},
                                                                       {"text-encoder", text_encoder},
                                                                       {"dit", dit},
                                                                       {"kl-decode", kl_decode}};
  const auto found = parts.find(part);
  if (found == parts.end()) throw Error("bench_part: no part is called " + part);
  return found->second(request);
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  setenv("MKL_CBWR", "AUTO,STRICT", 0);  // as the program does, like the next
  tessera::install_memory_cache();
  if (argc != 6) {
    std::fprintf(stderr, "usage: bench_part PART MODEL INPUTS.safetensors DTYPE THREADS\n");
    return 2;
  }
  return tessera::run_program("bench_part", [argv] {
    at::set_num_threads(std::stoi(argv[5]));
    const c10::InferenceMode inference;
    const tessera::Run run = tessera::make_run(argv[1], {argv[2], tessera::read_safetensors(argv[3]), argv[4]});
    tessera::serve({.run = [&run](const std::string&) { return run(); }});
  });
}
